"""One retrain of a home at a time: others wait, an equal one that would wait too ends, a kill frees the place."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from reviewlm.tasks.execution.limits import FOLDER, RETRAIN, SameRetrainWaits, one_retrain
from reviewlm.tasks.execution.stage import recorded_stages
from tests.core.waiting import until
from tests.flows.first_run import ROOT
from tests.programs import command

WEEKLY, ON_DRIFT = {"preset": "small"}, {"preset": ""}


class Places:
    """Stands for the limit of a server that others use, too: `free` is cleared while another home retrains."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()
        self.taken = 0

    @contextmanager
    def slot(self, name: str, at_wait: Callable[[], object]) -> Iterator[None]:
        assert name == RETRAIN
        if not self.free.is_set():
            at_wait()
            assert self.free.wait(30)
        self.taken += 1
        yield


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Places:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setattr("reviewlm.tasks.execution.limits.LOOK_SECONDS", 0.01)
    places = Places()
    monkeypatch.setattr("reviewlm.tasks.execution.limits.slot", places.slot)
    return places


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(3) as found:
        yield found


def retrain(
    home: Path,
    ended: threading.Event,
    asked: dict[str, str] | None = None,
) -> str:
    """Hold the place until *ended*."""
    try:
        with one_retrain(home, asked):
            (home / "begun").touch()
            assert ended.wait(30)
            return "done"
    except SameRetrainWaits:
        return "not needed"


def waiting(home: Path) -> int:
    return len(list((home / FOLDER).glob("waiting-*.lock")))


def test_retrains_wait_for_the_first_unless_an_equal_one_waits_already(
    shared: Places,
    tmp_path: Path,
    threads: ThreadPoolExecutor,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "reviewlm.tasks.execution.limits")
    first, others = threading.Event(), threading.Event()
    others.set()
    running = threads.submit(retrain, tmp_path, first, WEEKLY)
    until(lambda: (tmp_path / "begun").exists())
    second = threads.submit(retrain, tmp_path, others, WEEKLY)
    # Its lock is taken; the file alone may still be free.
    until(lambda: "waiting until" in caplog.text)
    assert retrain(tmp_path, others, WEEKLY) == "not needed"
    third = threads.submit(retrain, tmp_path, others, ON_DRIFT)
    until(lambda: waiting(tmp_path) == 2)
    assert not second.done()
    first.set()
    assert [future.result(30) for future in (running, second, third)] == ["done"] * 3
    assert "waiting until another retrain has ended" in caplog.messages


def test_a_wait_for_another_retrain_is_recorded(
    shared: Places,
    tmp_path: Path,
    threads: ThreadPoolExecutor,
) -> None:
    first = threading.Event()
    running = threads.submit(retrain, tmp_path, first)
    until(lambda: (tmp_path / "begun").exists())
    threading.Timer(0.2, first.set).start()
    with recorded_stages() as record, one_retrain(tmp_path):
        assert record.waited > 0.1
    assert running.result(30) == "done"


@pytest.fixture
def running(
    tmp_path: Path,
    threads: ThreadPoolExecutor,
    shared: Places,
) -> Iterator[tuple[Future[str], threading.Event]]:
    """A retrain by a command that runs until the event is set."""
    first = threading.Event()
    future = threads.submit(retrain, tmp_path, first)
    until(lambda: (tmp_path / "begun").exists())
    yield future, first
    first.set()
    assert future.result(30) == "done"


def test_equal_commands_wait_for_a_retrain(
    tmp_path: Path,
    threads: ThreadPoolExecutor,
    running: tuple[Future[str], threading.Event],
) -> None:
    others = threading.Event()
    others.set()
    commands = [threads.submit(retrain, tmp_path, others) for _ in range(2)]
    time.sleep(0.05)
    assert not any(command.done() for command in commands)
    running[1].set()
    assert [future.result(30) for future in commands] == ["done"] * 2


def test_a_command_without_a_lasting_server_waits_for_no_retrain(
    tmp_path: Path,
    running: tuple[Future[str], threading.Event],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PREFECT_API_URL")
    with recorded_stages() as record, one_retrain(tmp_path):
        assert not running[0].done()

    assert record.waited == 0


def test_retrains_of_two_homes_run_one_after_the_other(
    shared: Places,
    tmp_path: Path,
    threads: ThreadPoolExecutor,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "reviewlm.tasks.execution.limits")
    shared.free.clear()
    ended = threading.Event()
    ended.set()
    waits = threads.submit(retrain, tmp_path, ended, WEEKLY)
    until(lambda: "waiting until the server's place" in caplog.text)
    assert retrain(tmp_path, ended, WEEKLY) == "not needed"
    other = threads.submit(retrain, tmp_path, ended, ON_DRIFT)
    until(lambda: "waiting until another retrain has ended" in caplog.text)
    assert not waits.done()
    assert not other.done()
    shared.free.set()
    assert [waits.result(30), other.result(30)] == ["done"] * 2
    assert shared.taken == 2


def started(home: Path, seconds: float) -> subprocess.Popen[str]:
    words = command(
        "hold_retrain",
        home,
        seconds,
        1,
        "home",
    )
    return subprocess.Popen(
        words,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def until_said(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout is not None
    assert any(line.startswith(words) for line in process.stdout)


@pytest.mark.slow
@pytest.mark.drill(
    "two retrains at once",
    "three processes race for the home's one retrain",
    "one after the other",
)
def test_processes_that_race_retrain_one_after_the_other(shared: Places, tmp_path: Path) -> None:
    processes = [started(tmp_path, 0.4) for _ in range(3)]
    told = [
        process.communicate(timeout=120)[0].splitlines()[-1].split()[1:] for process in processes
    ]
    held = sorted((float(begun), float(ended)) for begun, ended in told)
    assert all(ended <= begun for (_, ended), (begun, _) in pairwise(held))


@pytest.mark.slow
@pytest.mark.drill(
    "two retrains at once",
    "kill -9 of the retrain that others wait for",
    "the next one begins at once",
)
def test_a_killed_retrain_gives_its_place_to_the_next_at_once(
    shared: Places,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    first = started(tmp_path, 120)
    until_said(first, "holds")
    second = started(tmp_path, 0)
    until_said(second, "waiting until another retrain has ended")
    first.kill()
    killed = time.time()
    begun = float(second.communicate(timeout=60)[0].splitlines()[-1].split()[1])
    record_property("seconds until the next one runs", round(begun - killed, 1))
    assert begun - killed < 10  # a lease of Prefect's server would last for minutes
    first.wait(10)
