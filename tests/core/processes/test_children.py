"""Children end with their parent; temporary folders of killed processes go; who is gone is certain."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from pathlib import Path

import psutil
import pytest

from reviewlm.core.processes.children import end_child, run_child, start_child
from reviewlm.core.processes.leftovers import (
    OWNER,
    PREFIX,
    is_held,
    lasting_environment,
    own_temporary_folder,
    remove_abandoned_folders,
)
from reviewlm.core.store import Store
from tests.marked_cases import long_but
from tests.programs import command, path_of

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = path_of("say_ready")
WITH_CHILD = path_of("say_ready_beside_child")


def parent_of(program: str, group: bool) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """Start a process that starts a program, which says "ready"; return it and its living descendants."""
    words = command("start_child_and_wait", program, "group" if group else "alone")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline().strip() == "ready"
    return parent, psutil.Process(parent.pid).children(recursive=True)


@pytest.mark.parametrize(
    "number", long_but([signal.SIGKILL, signal.SIGTERM, signal.SIGHUP], {signal.SIGKILL})
)
def test_a_child_ends_with_its_parent_whatever_ends_that(number: int) -> None:
    parent, family = parent_of(PROGRAM, True)
    assert len(family) == 1
    parent.send_signal(number)
    parent.wait(60)
    assert psutil.wait_procs(family, timeout=20)[1] == []


def test_a_child_is_a_session_of_its_own() -> None:
    child = start_child([PROGRAM], stdout=subprocess.PIPE)
    try:
        assert os.getsid(child.pid) == child.pid
    finally:
        end_child(child)


def test_a_child_that_is_ended_takes_what_it_has_started_with_it() -> None:
    child = start_child([WITH_CHILD], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    family = psutil.Process(child.pid).children(recursive=True)
    assert len(family) == 1
    end_child(child)
    assert psutil.wait_procs(family, timeout=20)[1] == []
    assert child.returncode == -signal.SIGKILL


@pytest.mark.parametrize("group", [True, False])
def test_what_a_child_has_started_ends_with_a_killed_parent_if_that_was_asked_for(
    group: bool,
) -> None:
    parent, family = parent_of(WITH_CHILD, group)
    assert sorted(one.name() == "sleep" for one in family) == [False, True]
    parent.kill()
    parent.wait(60)
    left = psutil.wait_procs(family, timeout=20 if group else 2)[1]
    try:
        assert [one.name() for one in left] == ([] if group else ["sleep"])
    finally:
        for one in left:
            one.kill()


def test_a_child_that_takes_too_long_is_ended() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run_child([PROGRAM], 1.0)
    assert not [p for p in psutil.Process().children() if PROGRAM in p.cmdline()]


def test_a_child_reads_nothing_from_its_lifeline() -> None:
    child = start_child([path_of("repeat_line")], stdout=subprocess.PIPE, text=True)
    try:
        child.stdin.write("a line\n")
        child.stdin.flush()
        assert child.stdout.readline().strip() == "nothing"
    finally:
        end_child(child)
        child.stdout.close()


def run(how: str, temporary: Path) -> str:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(temporary),
    }
    done = subprocess.run(
        command("make_temporary_folders", how),
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (done.returncode == 0) == (how == "ended"), done.stderr
    return done.stdout.strip()


def test_those_of_a_killed_process_go_when_the_next_one_starts(tmp_path: Path) -> None:
    run("killed", tmp_path)
    [left] = tmp_path.iterdir()
    assert left.name.startswith(PREFIX)
    run("ended", tmp_path)
    assert list(tmp_path.iterdir()) == []


def temporary_variable() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name == "TMPDIR"}


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files of this process."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_folder_of_a_living_process_stays(temporary: Path) -> None:
    with own_temporary_folder():
        mine = Path(tempfile.gettempdir())
        assert is_held(mine / OWNER)
        remove_abandoned_folders(temporary)
        assert mine.is_dir()
    assert not mine.exists()


def test_a_folder_without_an_owner_stays(temporary: Path) -> None:
    """It is not one of ours, or it is just being made."""
    (temporary / f"{PREFIX}of-someone").mkdir()
    (temporary / "other").mkdir()
    remove_abandoned_folders(temporary)
    assert {path.name for path in temporary.iterdir()} == {f"{PREFIX}of-someone", "other"}


def test_the_own_folder_is_named_to_children_while_it_is_there(temporary: Path) -> None:
    outside = temporary_variable()
    with own_temporary_folder():
        mine = tempfile.gettempdir()
        assert temporary_variable() == {"TMPDIR": mine}
    assert tempfile.gettempdir() == str(temporary)
    assert temporary_variable() == outside


def test_services_outlive_the_own_folder_so_they_use_the_one_outside(temporary: Path) -> None:
    outside = temporary_variable()
    with own_temporary_folder():
        given = {"A": "1", "TMPDIR": tempfile.gettempdir()}
        assert lasting_environment(given) == {"A": "1", **outside}


def interrupted(
    store: Store,
    resumable: bool,
    number: int,
) -> None:
    def make(work: Path) -> dict[str, int]:
        (work / "half").write_text("…")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        store.build(
            "stage",
            "1",
            {"n": number},
            {},
            make,
            resumable=resumable,
        )


@pytest.fixture
def unfinished(tmp_path: Path) -> Store:
    """A store with an unfinished resumable build (1) and one that begins anew (2)."""
    store = Store(tmp_path)
    interrupted(store, True, 1)
    interrupted(store, False, 2)
    assert len(list(tmp_path.glob(".work/*/half"))) == 2
    return store


def test_unfinished_work_that_nothing_goes_on_with_is_removed(unfinished: Store) -> None:
    digest = Store.digest("stage", "1", {"n": 2}, {})
    assert [path.name for path in unfinished.tidy()] == [f"once-{digest}"]
    assert unfinished.tidy() == []


def test_unfinished_work_of_a_resumable_build_stays(unfinished: Store, tmp_path: Path) -> None:
    unfinished.tidy()
    digest = Store.digest("stage", "1", {"n": 1}, {})
    assert [path.parent.name for path in tmp_path.glob(".work/*/half")] == [digest]
