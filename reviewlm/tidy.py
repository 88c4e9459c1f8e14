"""Clean up at the start of a command: end MLflow runs and remove work folders that killed runs left."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from core.store import Store

if TYPE_CHECKING:
    from core.config.run_config import RunConfig

log = logging.getLogger(__name__)


def tidy(config: RunConfig) -> None:
    """End the MLflow runs of killed processes and remove work folders that cannot be resumed."""
    if gone := Store(config.home / "store").tidy():
        log.info("removing %d unfinished results of killed runs, which cannot be resumed", len(gone))
    if any((config.home / "running").glob("*")):
        from tracking.runs.abandoned import end_left_runs  # imports MLflow only if there is a run to end

        end_left_runs(config)
