"""Children have a session of their own, say what they said, and end with their parent, whatever ends that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from core.processes import children
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


def test_it_lives_on_when_the_thread_that_started_it_has_ended(program: Path) -> None:
    """What Linux's own signal at the death of a parent gets wrong."""
    import threading

    started: list[subprocess.Popen[bytes]] = []
    thread = threading.Thread(target=lambda: started.append(start_child([str(program)], stdout=subprocess.PIPE)))
    thread.start()
    thread.join()
    try:
        assert started[0].stdout is not None
        assert started[0].stdout.readline() == b"ready\n"
        time.sleep(0.2)
        assert started[0].poll() is None
    finally:
        end_child(started[0])


@pytest.mark.slow
def test_workers_of_a_process_pool_end_with_it_too() -> None:
    code = (
        "from concurrent.futures import ProcessPoolExecutor; from multiprocessing import get_context\n"
        "import os, time; from core.processes.children import end_with_parent\n"
        "pool = ProcessPoolExecutor(2, get_context('spawn'), initializer=end_with_parent)\n"
        "pool.submit(os.getpid).result(); pool.submit(time.sleep, 600); pool.submit(time.sleep, 600)\n"
        "time.sleep(1); print('ready', flush=True); time.sleep(600)"
    )
    parent, family = parent_of(code)
    workers = [process for process in family if "spawn_main" in " ".join(process.cmdline())]
    assert len(workers) == 2
    parent.kill()
    parent.wait(60)
    assert psutil.wait_procs(family, timeout=20)[1] == []


@pytest.mark.long
def test_prefects_private_server_ends_with_a_killed_run_and_the_terminal_cannot_reach_it(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from core.environment import prepare_environment\n"
        f"prepare_environment(Path({str(tmp_path)!r}))\n"
        "from flows.server.private_server import private_server; import time\n"
        "with private_server() as wait:\n    wait(); print('ready', flush=True); time.sleep(600)"
    )
    parent, family = parent_of(code)
    servers = [process for process in family if "flows.server.private_program" in process.cmdline()]
    assert [os.getsid(server.pid) == server.pid for server in servers] == [True]
    parent.kill()
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


def test_all_children_are_ended_at_once(program: Path) -> None:
    started = [start_child([str(program)], stdout=subprocess.DEVNULL) for _ in range(3)]
    children.end_children(20)
    assert [child.returncode for child in started] == [-signal.SIGKILL] * 3


def test_a_program_runs_as_python_would_run_it(tmp_path: Path) -> None:
    """Its name, its arguments, an empty standard input, its exit code."""
    (tmp_path / "mine.py").write_text(
        "import sys\nimport pickle\nprint(__name__, sys.argv[1:], sys.stdin.read())\n"
        "print(sys.modules['__main__'].__dict__ is globals(), file=sys.stderr)\nsys.exit(3)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = run_child(["-m", "mine", "a", "-b"], 60, env=environment)
    assert (done.returncode, done.stdout.split("\n")[0]) == (3, "__main__ ['a', '-b'] ")
    assert done.stderr == "True\n"
    done = run_child([str(tmp_path / "mine.py"), "a"], 60)
    assert (done.returncode, done.stdout.split()[:2]) == (3, ["__main__", "['a']"])


def test_a_package_in_the_working_directory_does_not_replace_one_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "core").mkdir()
    (tmp_path / "core/__init__.py").write_text("raise SystemExit('a package of the user')")
    assert run_child(["-m", "core.errors"], 60, cwd=tmp_path).returncode == 0


def test_an_isolated_child_sees_nothing_of_the_project(tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text("import sys\nprint(sys.flags.isolated, [path for path in sys.path if path.endswith('reviewlm')])")
    assert run_child([str(file)], 60, isolated=True).stdout == "1 []\n"


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


def test_a_fed_child_ends_with_its_lifeline_too(program: Path) -> None:
    child = start_child([str(program)], fed=True, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == b"ready\n"
    child.stdin.close()
    assert child.wait(20) == 1
    end_child(child)
