"""The run of a failed retrain says in MLflow's list of what kind its error was."""

from __future__ import annotations

from pathlib import Path

import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.errors import CheckFailed, OutOfMemory
from reviewlm.tasks.records.track import parent_run, tracker_of
from reviewlm.tracking.tags import RUN_REASON


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (CheckFailed("44 of 2,000 rows fail"), "check failed"),
        (OutOfMemory("The memory is full"), "out of memory"),
        (OSError("no such file"), "os error"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_a_run_that_failed_has_the_kind_of_its_error_as_its_reason(
    error: BaseException,
    reason: str,
    migrated_home: Path,
) -> None:
    config = load_config("small")
    with pytest.raises(type(error)), parent_run(config, "retrain") as run_id:
        raise error

    assert tracker_of(config.workspace).tag(run_id, RUN_REASON) == reason
