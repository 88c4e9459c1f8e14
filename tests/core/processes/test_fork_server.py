"""A fork server: its processes have its libraries, tell how they ended, and end with whoever asked for them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import pytest

from reviewlm.core.processes.children import end_child
from reviewlm.core.processes.fork_server import ForkOrder, ForkServer, ServedChild
from reviewlm.core.processes.forks import can_fork
from tests.core.waiting import until
from tests.programs import command

pytestmark = pytest.mark.skipif(not can_fork(), reason="this system cannot fork")
ROOT = Path(__file__).resolve().parents[3]
WORKS = "tests.core.processes.served_works"


@pytest.fixture
def server() -> Iterator[ForkServer]:
    made = ForkServer(
        {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TOLD": "a variable",
        }
    )
    yield made
    made.end()


def forked(
    server: ForkServer,
    work: str,
    *libraries: str,
) -> tuple[ServedChild, Connection]:
    ours, theirs = socket.socketpair()
    with theirs:
        order = ForkOrder(f"{WORKS}:{work}", "a name that is too long", libraries)
        child = server.fork(order, theirs.fileno(), 2)
    return child, Connection(ours.detach())


def test_its_processes_have_one_parent_with_the_given_variables(server: ForkServer) -> None:
    told = []
    for _ in range(2):
        child, connection = forked(server, "tell")
        told.append(connection.recv())
        assert told[-1][0] == child.pid
        assert child.wait(20) == 0
    assert told[0][1] == told[1][1] != os.getpid()
    assert told[0][2] == "a variable"


def test_a_process_tells_the_exit_code_of_its_work(server: ForkServer) -> None:
    child, _ = forked(server, "end_with_seven")
    assert child.wait(20) == 7
    assert child.returncode == 7


def test_a_process_that_is_killed_tells_the_signal(server: ForkServer) -> None:
    child, connection = forked(server, "wait")
    connection.recv()
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.1)
    assert psutil.Process(child.pid).name() == "a name that is "
    end_child(child)
    assert child.returncode == -signal.SIGKILL


def test_a_library_is_loaded_once_before_the_fork(server: ForkServer) -> None:
    libraries = ("fractions", f"{WORKS}:note")
    told = []
    for _ in range(2):
        _, connection = forked(server, "tell_modules", *libraries)
        told.append(connection.recv())
    _, connection = forked(server, "tell")
    assert told == [(True, [connection.recv()[1]])] * 2


def test_a_library_that_cannot_be_imported_is_left_to_the_process(server: ForkServer) -> None:
    child, connection = forked(server, "tell", "no_such_module")
    assert connection.recv()[0] == child.pid


def test_its_processes_end_with_it(server: ForkServer) -> None:
    child, connection = forked(server, "wait")
    connection.recv()
    server.end()
    assert child.wait(20) == -signal.SIGKILL
    assert not psutil.pid_exists(child.pid)


def test_processes_of_a_killed_server_end_as_if_killed(server: ForkServer) -> None:
    child, connection = forked(server, "wait")
    process, killed, _ = connection.recv()
    os.kill(killed, signal.SIGKILL)
    assert child.wait(20) == -signal.SIGKILL
    until(lambda: not psutil.pid_exists(process), 20)
    child, connection = forked(server, "tell")
    assert connection.recv()[1] != killed


def test_its_processes_end_with_the_process_that_asked_for_them() -> None:
    asking = subprocess.Popen(
        command("fork_from_server"),
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert asking.stdout is not None
    family = [psutil.Process(int(number)) for number in asking.stdout.readline().split()]
    asking.kill()
    asking.wait(20)
    assert psutil.wait_procs(family, timeout=20)[1] == []
