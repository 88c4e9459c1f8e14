"""Several workers on one port: a healthy one outlives the failures of others, and the end refuses new connections."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.processes import interrupts
from serving import workers
from serving.workers import WorkerFailed, share

PROGRAM = """
import json, os, signal, sys, time
from pathlib import Path

folder, (listener, pipe) = Path(sys.argv[1]), map(int, sys.argv[3].split(","))
if (folder / "damaged").exists():
    (folder / f"vain-{os.getpid()}").touch()
    sys.exit(7)
stopping = []
signal.signal(signal.SIGTERM, lambda *given: stopping.append(os.close(listener)))
os.write(pipe, json.dumps({"model": "reviewlm/1", "pid": os.getpid()}).encode() + b"\\n")
(folder / f"answers-{os.getpid()}").touch()
while not (stopping and (folder / "finished").exists()):
    time.sleep(0.01)
"""
"""A worker that cannot start while there is a file `damaged`, and ends when it was told to and `finished` is there."""


class Shared:
    """`share` in a thread, with workers of `PROGRAM`."""

    def __init__(self, folder: Path, count: int = 2) -> None:
        self.folder = folder
        self.told: list[dict[str, str]] = []
        self.error: WorkerFailed | None = None
        (folder / "program.py").write_text(PROGRAM)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.thread = threading.Thread(target=self._run, args=(count,), daemon=True)
        self.thread.start()

    def _run(self, count: int) -> None:
        try:
            share([str(self.folder / "program.py"), str(self.folder)], count, self.listener, 20, self.told.append)
        except WorkerFailed as error:
            self.error = error

    def pids(self, kind: str = "answers") -> set[int]:
        return {int(path.name.partition("-")[2]) for path in self.folder.glob(f"{kind}-*")}

    def kill(self, pid: int) -> None:
        (self.folder / f"answers-{pid}").unlink()
        os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        assert interrupts._process.stop is not None
        interrupts._process.stop()

    def refuses(self) -> bool:
        try:
            socket.create_connection(self.address, 5).close()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:
            return False  # it came while the address was closed: the next one is refused
        return False


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shared]:
    monkeypatch.setattr(workers, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(workers, "LOOK", 0.01)
    shared = Shared(tmp_path)
    until(lambda: len(shared.pids()) == 2 and len(shared.told) == 1)
    yield shared
    (tmp_path / "finished").touch()
    if shared.thread.is_alive():
        shared.stop()
    shared.thread.join(20)
    shared.listener.close()
    assert not shared.thread.is_alive()


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    over = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < over, "it did not happen"
        time.sleep(0.01)


def test_a_worker_that_cannot_start_again_does_not_end_the_one_that_answers(
    shared: Shared, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, workers.__name__)
    first, second = shared.pids()
    (shared.folder / "damaged").touch()
    shared.kill(first)
    until(lambda: len(shared.pids("vain")) >= 4)
    assert (shared.thread.is_alive(), shared.error) == (True, None)
    os.kill(second, 0)
    waits = [record.message.partition("another one in ")[2] for record in caplog.records]
    assert [wait for wait in waits if wait][:3] == ["0.01 s", "0.02 s", "0.04 s"]
    (shared.folder / "damaged").unlink()
    until(lambda: len(shared.pids()) == 2)
    os.kill(second, 0)
    assert shared.told == [{"model": "reviewlm/1"}]


def test_new_connections_are_refused_while_workers_finish_their_requests(shared: Shared) -> None:
    assert not shared.refuses()
    shared.stop()
    until(shared.refuses, 5)
    for pid in shared.pids():
        os.kill(pid, 0)  # they are still at work
