"""Announce an event about the model `yelp` from a flow, by the event's name in `reviewlm.core.services.join`."""

from __future__ import annotations

import sys

from prefect import flow

from reviewlm.core.services import join
from reviewlm.tasks.execution.stage import announce


@flow
def decide(event: str) -> None:
    sentence = f"Because of {event}."
    told = {
        "version": 7,
        "stage": "fit",
        "sentence": sentence,
        "report": "page",
    }
    announce(getattr(join, event), "yelp", told)


if __name__ == "__main__":
    decide(sys.argv[1])
