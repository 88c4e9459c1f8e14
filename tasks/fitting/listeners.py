"""Forward the progress of a fit to the progress bar and, less often, to its MLflow run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.errors import TrackingUnavailable
from tasks.progress import Report

FORWARD_SECONDS = 20.0
log = logging.getLogger(__name__)


class EnoughSeen(Exception):
    """Raised by a listener to stop a fit: its process is ended and its files are deleted."""


def both(report: Report, listen: Callable[[Path], None], journal: Path) -> Callable[[dict[str, Any]], None]:
    """Return a listener that updates the progress bar and calls *listen* with the journal."""

    def both(news: dict[str, Any]) -> None:
        report(news["step"], news["figures"], total=news["total"])
        listen(journal)

    return both


def now_and_then(forward: Callable[[Path], None]) -> Callable[[Path], None]:
    """Return a listener that forwards the journal to MLflow at most every `FORWARD_SECONDS`."""
    forwarded = time.monotonic()

    def listen(journal: Path) -> None:
        nonlocal forwarded
        if time.monotonic() - forwarded > FORWARD_SECONDS:
            forwarded = time.monotonic()
            try:
                forward(journal)
            except TrackingUnavailable as error:  # the journal keeps the points; the fit continues
                log.warning("%s; its figures follow later", error.what)

    return listen
