"""The machine's clock is set back: nothing younger is removed, and no order and no duration rests on the clock."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.tasks.records.track import parent_run, tracker_of
from reviewlm.tasks.upkeep.collect import collect
from tests.tasks.upkeep.test_upkeep_home import result

DAY = 86_400 * 10**9
TODAY = time.time_ns()
BACK = TODAY - 400 * DAY
"""Now, by the clock that was set back."""
DONE = (
    "clock set back",
    "by 400 days, then `reviewlm home gc`",
    "nothing younger than the newest runs is removed",
)


@pytest.fixture
def config(migrated_home: Path) -> RunConfig:
    return load_config("small", ["upkeep.runs=1"])


def run_at(
    config: RunConfig,
    moment: int,
    monkeypatch: pytest.MonkeyPatch,
    ended: bool = True,
) -> str:
    """Make a run that begins at a moment of the clock."""
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: moment / 1e9)
        if not ended:
            return tracker_of(config.workspace).start_run("open")
        with parent_run(config, "retrain") as run_id:
            return run_id


@pytest.mark.drill(*DONE)
def test_results_of_runs_around_a_clock_that_was_set_back_stay(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = result(config, "before", TODAY), result(config, "after", BACK)
    forgotten = result(config, "forgotten", BACK - 30 * DAY)
    run_at(config, TODAY, monkeypatch)
    run_at(config, BACK, monkeypatch)
    collect(config.workspace, config.upkeep, now=BACK + DAY)
    assert [one.folder.is_dir() for one in (before, after, forgotten)] == [True, True, False]


@pytest.mark.drill(*DONE)
def test_while_all_runs_are_from_before_the_clock_was_set_back_nothing_goes(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = result(config, "old", BACK - 30 * DAY)
    run_at(config, TODAY, monkeypatch)
    collect(config.workspace, config.upkeep, now=BACK + DAY)
    assert old.folder.is_dir()
