"""Do works with opened models, one after the other, in a process that `fork_server.py` has forked.

Each line of the standard input is one work (`ModelWork`). Messages are those of `tasks/fitting/worker.py`; each work
ends with {"summary"}, {"error"} or {"raised"}: an error of the project, pickled. The last model stays open, because the
next work is with the same one, but for a process that was not forked.
"""

from __future__ import annotations

import base64
import pickle
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.errors import ReviewLMError
from models.bundles.bundle import Bundle, load_bundle
from models.threads import return_freed
from tasks.fitting.worker import answer, logged_to_parent, report_progress, say
from tasks.measuring.model_work import ModelWork
from training.context import FitProgress

ROOMS = ("models", "evaluation", "corpus")
"""Loggers whose messages the parent process gets."""


def done(work: ModelWork, opened: Callable[[Path], Bundle]) -> dict[str, Any]:
    """Do one work; return the message that ends it."""
    def report(step: int) -> None:
        report_progress(FitProgress(step, 0, {}))

    try:
        return answer(lambda: work(opened(work.model), report))
    except ReviewLMError as error:
        return {"raised": base64.b64encode(pickle.dumps(error)).decode()}
    finally:
        return_freed()  # the next work does not fit into the gaps that this one left


def main() -> int:
    """Do the works of the standard input until it ends."""
    opened = lru_cache(maxsize=1)(load_bundle)
    with logged_to_parent(*ROOMS):
        for line in sys.stdin:
            say(done(ModelWork.from_json(line), opened))
    return 0
