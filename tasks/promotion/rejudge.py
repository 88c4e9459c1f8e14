"""A decision of the gate holds against the champion that was scored; if another took its place, it is made anew."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from tracking.registry.registry import ChampionChanged

log = logging.getLogger(__name__)
ATTEMPTS = 5
"""Each further one means that yet another gate has promoted within the time of one scoring."""
Judged = TypeVar("Judged")


def until_settled(judge: Callable[[], Judged]) -> Judged:
    """Return what *judge* decides: it scores the champion of now and settles; it is asked again if that changes.

    Raises:
        ChampionChanged: The champion has changed under each of `ATTEMPTS` decisions.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return judge()
        except ChampionChanged as error:
            if attempt == ATTEMPTS:
                raise
            log.warning("the champion has changed since it was scored (%s); judging again", error.value)
    raise AssertionError("unreachable")
