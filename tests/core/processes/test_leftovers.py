"""Temporary files of a process go with it, and those of a killed one when the next one starts."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from core.processes.leftovers import (
    OWNER,
    PREFIX,
    is_held,
    lasting_environment,
    own_temporary_folder,
    remove_abandoned_folders,
)
from core.store import Store

ROOT = Path(__file__).resolve().parents[3]
CODE = """
import os, signal, subprocess, sys, tempfile
from core.processes.leftovers import own_temporary_folder
with own_temporary_folder():
    open(os.path.join(tempfile.mkdtemp(), "large"), "w").write("x" * 1000)
    child = [sys.executable, "-c", "import tempfile; print(tempfile.mkdtemp(), flush=True)"]
    subprocess.run(child, check=True)
    if sys.argv[1] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def run(how: str, temporary: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}
    done = subprocess.run([sys.executable, "-c", CODE, how], env=environment, capture_output=True, text=True)
    assert (done.returncode == 0) == (how == "ended"), done.stderr
    return done.stdout.strip()


def test_those_of_a_killed_process_go_when_the_next_one_starts(tmp_path: Path) -> None:
    run("killed", tmp_path)
    [left] = tmp_path.iterdir()
    assert left.name.startswith(PREFIX)
    run("ended", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_those_of_a_living_process_and_of_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{PREFIX}of-someone").mkdir()  # no owner's file: not one of ours, or just being made
    (tmp_path / "other").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    outside = {name: value for name, value in os.environ.items() if name == "TMPDIR"}
    with own_temporary_folder():
        mine = Path(tempfile.gettempdir())
        assert is_held(mine / OWNER)
        assert remove_abandoned_folders(tmp_path) == []
        assert os.environ["TMPDIR"] == str(mine)
        assert lasting_environment({"A": "1", "TMPDIR": str(mine)}) == {"A": "1", **outside}  # of the services
    assert tempfile.gettempdir() == str(tmp_path)
    assert {name: value for name, value in os.environ.items() if name == "TMPDIR"} == outside
    assert not mine.exists()
    assert {path.name for path in tmp_path.iterdir()} == {f"{PREFIX}of-someone", "other"}


def interrupted(store: Store, resumable: bool, number: int) -> None:
    def make(work: Path) -> dict[str, int]:
        (work / "half").write_text("…")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        store.build("stage", 1, {"n": number}, {}, make, resumable=resumable)


def test_unfinished_work_that_nothing_goes_on_with_is_removed_and_other_work_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    interrupted(store, True, 1)
    interrupted(store, False, 2)
    assert len(list(tmp_path.glob(".work/*/half"))) == 2
    assert [path.name for path in store.tidy()] == [f"once-{Store.digest('stage', 1, {'n': 2}, {})}"]
    assert [path.parent.name for path in tmp_path.glob(".work/*/half")] == [Store.digest("stage", 1, {"n": 1}, {})]
    assert store.tidy() == []
