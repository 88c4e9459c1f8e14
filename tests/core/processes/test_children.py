"""Children have a session of their own, say what they said, and end with their parent, whatever ends that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from core.processes.children import end_child, run_child, start_child
from tests.marked_cases import long_but

ROOT = Path(__file__).resolve().parents[3]
SLEEPER = "import subprocess, sys, time\nprint('ready', flush=True)\ntime.sleep(600)\n"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "program.py"
    file.write_text(SLEEPER)
    return file


def parent_of(code: str) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """Start a process that starts children and says "ready"; return it and its living descendants."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # A signal that these tests ignore (under nohup, say) would be ignored by what they start.
    heard = "import signal; [signal.signal(n, signal.SIG_DFL) for n in (signal.SIGHUP, signal.SIGTERM)]\n"
    parent = subprocess.Popen([sys.executable, "-c", heard + code], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    assert parent.stdout.readline().strip() == "ready"
    return parent, psutil.Process(parent.pid).children(recursive=True)


@pytest.mark.parametrize("number", long_but([signal.SIGKILL, signal.SIGTERM, signal.SIGHUP], {signal.SIGKILL}))
def test_a_child_ends_with_its_parent_whatever_ends_that(program: Path, number: int) -> None:
    code = (
        "import subprocess, sys, time; from core.processes.children import start_child\n"
        f"child = start_child([{str(program)!r}], stdout=subprocess.PIPE); print(child.stdout.readline().decode())\n"
        "sys.stdout.flush(); time.sleep(600)"
    )
    parent, family = parent_of(code)
    assert len(family) == 1
    parent.send_signal(number)
    parent.wait(60)
    assert psutil.wait_procs(family, timeout=20)[1] == []


def test_a_child_is_a_session_of_its_own_and_ends_with_what_it_has_started(tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text("import subprocess, time\nsubprocess.Popen(['sleep', '600'])\n" + SLEEPER)
    child = start_child([str(file)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    assert os.getsid(child.pid) == child.pid
    family = psutil.Process(child.pid).children(recursive=True)
    assert len(family) == 1
    end_child(child)
    assert psutil.wait_procs(family, timeout=20)[1] == []
    assert child.returncode == -signal.SIGKILL


@pytest.mark.parametrize("group", [True, False])
def test_what_a_child_has_started_ends_with_a_killed_parent_if_that_was_asked_for(tmp_path: Path, group: bool) -> None:
    file = tmp_path / "program.py"
    file.write_text("import subprocess, time\nsubprocess.Popen(['sleep', '600'])\n" + SLEEPER)
    code = (
        "import subprocess, sys, time; from core.processes.children import start_child\n"
        f"child = start_child([{str(file)!r}], group={group}, stdout=subprocess.PIPE)\n"
        "print(child.stdout.readline().decode()); sys.stdout.flush(); time.sleep(600)"
    )
    parent, family = parent_of(code)
    assert sorted(one.name() == "sleep" for one in family) == [False, True]
    parent.kill()
    parent.wait(60)
    left = psutil.wait_procs(family, timeout=20 if group else 2)[1]
    try:
        assert [one.name() for one in left] == ([] if group else ["sleep"])
    finally:
        for one in left:
            one.kill()


def test_a_child_that_takes_too_long_is_ended(program: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run_child([str(program)], 1.0)
    assert not [p for p in psutil.Process().children() if str(program) in p.cmdline()]


def test_a_fed_child_reads_what_is_written_to_it_and_others_read_nothing(tmp_path: Path) -> None:
    program = tmp_path / "echo.py"
    program.write_text("import sys\nprint(sys.stdin.readline().strip() or 'nothing', flush=True)\n")
    said = []
    for fed in (True, False):
        child = start_child([str(program)], fed=fed, stdout=subprocess.PIPE, text=True)
        try:
            child.stdin.write("a line\n")
            child.stdin.flush()
            said.append(child.stdout.readline().strip())
        finally:
            end_child(child)
            child.stdout.close()
    assert said == ["a line", "nothing"]
