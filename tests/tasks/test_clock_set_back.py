"""The machine's clock is set back: nothing younger is removed, and no order and no duration rests on the clock."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from core.config.presets import load_config
from core.config.run_config import RunConfig
from core.store import MANIFEST, Artifact
from tasks.collect import collect
from tasks.stage import store_of
from tasks.track import parent_run, tracker_of

DAY = 86_400 * 10**9
TODAY = time.time_ns()
BACK = TODAY - 400 * DAY
"""Now, by the clock that was set back."""
DONE = ("clock set back", "by 400 days, then `reviewlm home gc`", "nothing younger than the newest runs is removed")


@pytest.fixture
def config(migrated_home: Path) -> RunConfig:
    return load_config("small", ["upkeep.runs=1"])


def used_at(config: RunConfig, name: str, moment: int) -> Artifact:
    artifact = store_of(config).build("stage", 1, {"name": name}, {}, lambda _: {}).artifact
    os.utime(artifact.folder / MANIFEST, ns=(moment, moment))
    return artifact


def run_at(config: RunConfig, moment: int, monkeypatch: pytest.MonkeyPatch, ended: bool = True) -> str:
    """Make a run that begins at a moment of the clock."""
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: moment / 1e9)
        if not ended:
            return tracker_of(config).start_run("open")
        with parent_run(config, "retrain") as run_id:
            return run_id


def collected(config: RunConfig, now: int) -> dict[str, Any]:
    return collect(config, now=now)


@pytest.mark.drill(*DONE)
def test_results_of_runs_from_before_and_after_the_clock_was_set_back_stay(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = used_at(config, "before", TODAY), used_at(config, "after", BACK)
    forgotten = used_at(config, "forgotten", BACK - 30 * DAY)
    run_at(config, TODAY, monkeypatch)
    run_at(config, BACK, monkeypatch)
    collected(config, BACK + DAY)
    assert [one.folder.is_dir() for one in (before, after, forgotten)] == [True, True, False]


@pytest.mark.drill(*DONE)
def test_while_all_runs_are_from_before_the_clock_was_set_back_nothing_goes(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = used_at(config, "old", BACK - 30 * DAY)
    run_at(config, TODAY, monkeypatch)
    collected(config, BACK + DAY)
    assert old.folder.is_dir()
