"""A forked child keeps the imports of its parent and none of its files, and ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from reviewlm.core.processes.children import end_child
from reviewlm.core.processes.forks import ForkedChild, can_fork, fork_child
from tests.programs import command

pytestmark = pytest.mark.skipif(not can_fork(), reason="this system cannot fork")
ROOT = Path(__file__).resolve().parents[3]


def forked(
    work: Callable[[], object],
    messages: Path,
    environment: dict[str, str] | None = None,
) -> ForkedChild:
    with messages.open("wb") as file:
        return fork_child(
            work,
            "a name",
            environment or {},
            [],
            file.fileno(),
        )


def test_it_ends_with_the_code_of_its_work(tmp_path: Path) -> None:
    messages = tmp_path / "messages"
    assert forked(lambda: None, messages).wait(20) == 0
    assert forked(lambda: sys.exit(7), messages).wait(20) == 7


def test_an_error_of_its_work_stands_in_its_messages(tmp_path: Path) -> None:
    def fail() -> None:
        raise ValueError("no such luck")

    messages = tmp_path / "messages"
    assert forked(fail, messages).wait(20) == 1
    assert messages.read_text().splitlines()[-1] == "ValueError: no such luck"


def test_it_has_its_own_variables(tmp_path: Path) -> None:
    messages = tmp_path / "messages"
    tell = lambda: print(dict(os.environ), file=sys.stderr)  # noqa: E731
    assert forked(tell, messages, {"A": "1"}).wait(20) == 0
    assert messages.read_text() == "{'A': '1'}\n"


def test_it_has_none_of_the_files_of_its_parent(tmp_path: Path) -> None:
    def tell() -> None:
        files = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
        print(str(parents.resolve()) in files, file=sys.stderr)

    parents = tmp_path / "parent's"
    messages = tmp_path / "messages"
    with parents.open("wb"):
        assert forked(tell, messages).wait(20) == 0
    assert messages.read_text() == "False\n"


def test_it_is_a_session_of_its_own_that_can_be_ended(tmp_path: Path) -> None:
    child = forked(lambda: time.sleep(600), tmp_path / "messages")
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.5)
    assert child.poll() is None
    assert os.getsid(child.pid) == child.pid
    assert psutil.Process(child.pid).name() == "a name"
    end_child(child)
    assert child.returncode == -signal.SIGKILL


def test_it_ends_with_its_parent() -> None:
    parent = subprocess.Popen(
        command("fork_sleeping_child"),
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait(20)
    assert psutil.wait_procs([child], timeout=20)[1] == []
