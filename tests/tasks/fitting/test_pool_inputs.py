"""A worker's home keeps what its fits use, and nothing for ever."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from core.content_check import record_of
from core.store import Store
from tasks.fitting.pool_worker import DAY, KEPT_DAYS, remove_old_inputs


def result(home: Path, name: str, days: float) -> Path:
    """Return a result that was last used so many days ago."""
    store = Store(home / "store")
    folder = store.build("tokens", 1, {"name": name}, {}, lambda work: {}).artifact.folder
    used = time.time_ns() - int(days * DAY)
    record = record_of(store.root, folder)
    for file in (record, folder / "manifest.json"):
        if file.exists():
            os.utime(file, ns=(used, used))
    return folder


def forget_this_process(home: Path) -> None:
    """Let the uses of this process, which built the results, count as those of one that has ended."""
    for mark in (home / "store" / ".users").glob("*"):
        mark.unlink()


def test_what_no_fit_has_used_for_a_week_is_removed(tmp_path: Path) -> None:
    old, young = result(tmp_path, "old", KEPT_DAYS + 0.1), result(tmp_path, "young", KEPT_DAYS - 0.1)
    forget_this_process(tmp_path)
    assert remove_old_inputs(tmp_path) == 1
    assert not old.exists()
    assert young.exists()
    assert remove_old_inputs(tmp_path) == 0


def test_what_a_fit_that_goes_on_for_weeks_has_opened_stays(tmp_path: Path) -> None:
    old = result(tmp_path, "old", KEPT_DAYS + 1)
    [mark] = (tmp_path / "store" / ".users").glob("*")
    begun = time.time_ns() - 30 * DAY
    os.utime(mark, ns=(begun, begun))
    assert remove_old_inputs(tmp_path) == 0
    assert old.exists()


@pytest.mark.parametrize("own", ["mlflow.db", "stores/another", "reports/run/run.json"])
def test_a_home_with_runs_of_its_own_is_left_to_gc(own: str, tmp_path: Path) -> None:
    old = result(tmp_path, "old", KEPT_DAYS + 1)
    forget_this_process(tmp_path)
    (tmp_path / own).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / own).touch()
    assert remove_old_inputs(tmp_path) == 0
    assert old.exists()
