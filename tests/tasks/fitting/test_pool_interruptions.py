"""Lost workers, an interrupted machine and storage that fails: the fit goes on from its last checkpoint, or ends."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from core.config.run_config import RunConfig
from core.errors import PoolFailed
from core.storing.objects import RemoteError
from core.storing.remote import remote_store
from tasks.fitting import pool_link
from tasks.fitting.fit_process import run_job
from tasks.fitting.listeners import EnoughSeen
from tasks.fitting.pool_runs import RunState
from tests.tasks.fitting.pool_homes import (
    QUICK,
    Workers,
    digest,
    exchange_of,
    fitted_here,
    handed_over,
    home,
    job_in,
    network,
)

pytestmark = pytest.mark.usefixtures("own_homes")


def test_workers_that_are_lost_again_and_again_end_the_fit(tmp_path: Path) -> None:
    spec, mine = network(), home(tmp_path, "mine")
    workers = Workers([], ends="crashed")
    with pytest.raises(PoolFailed, match="has lost 3 workers"):
        handed_over(mine, spec, workers)(job_in(mine, spec, tmp_path / "mine" / "work"), lambda news: None)
    assert len(workers.states) == 3


def test_a_silent_worker_is_given_up(tmp_path: Path) -> None:
    spec, mine = network(), home(tmp_path, "mine")
    workers = Workers([], ends="running")
    silent = dataclasses.replace(QUICK, silent=0.3)
    with pytest.raises(PoolFailed, match="has lost 3 workers"):
        handed_over(mine, spec, workers, silent)(job_in(mine, spec, tmp_path / "mine" / "work"), lambda news: None)
    assert {state.word for state in workers.states.values()} == {"cancelled"}, "it must not go on beside the next one"


@pytest.mark.long
def test_a_fit_that_ended_while_nobody_waited_is_taken_over(tmp_path: Path) -> None:
    spec, mine = network(), home(tmp_path, "mine")
    job = job_in(mine, spec, tmp_path / "mine" / "work")

    class Vanished(Workers):
        """The machine that asks dies right after its request; its rerun finds the run that goes on."""

        def submit(self, job: str, model: str) -> str:
            run = super().submit(job, model)
            self.waiting = run
            raise KeyboardInterrupt

    workers = Vanished([home(tmp_path, "theirs")])
    with pytest.raises(KeyboardInterrupt):
        handed_over(mine, spec, workers)(job, lambda news: None)
    handed_over(mine, spec, workers)(job, lambda news: None)
    assert len(workers.states) == 1
    assert digest(job.work) == digest(fitted_here(tmp_path, spec).work)


@pytest.mark.slow
def test_an_input_that_is_damaged_in_the_remote_store_is_sent_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec, mine = network(), home(tmp_path, "mine")
    job = job_in(mine, spec, tmp_path / "mine" / "work")
    for file in (tmp_path / "shared" / "tokens").rglob("*"):
        if file.is_file() and "manifest" not in file.name:
            file.write_bytes(b"damaged")
    workers = Workers([home(tmp_path, "theirs"), home(tmp_path, "other")])
    handed_over(mine, spec, workers)(job, lambda news: None)
    assert "its inputs are uploaded again" in caplog.text
    assert digest(job.work) == digest(fitted_here(tmp_path, spec).work)


@pytest.mark.slow
def test_a_worker_that_was_believed_dead_stops_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_link, "BEAT_SECONDS", 0.05)
    spec, mine = network(epochs=60), home(tmp_path, "mine")
    job = job_in(mine, spec, tmp_path / "mine" / "work")

    class Revived(Workers):
        """The first worker goes on, although its run is said to have crashed."""

        def state(self, run: str) -> RunState:
            claimed = exchange_of(tmp_path).read("claim") or {}
            begun = claimed.get("run") == "run-0" and exchange_of(tmp_path).read("progress")
            return RunState("crashed") if run == "run-0" and begun else self.states[run]

        def work(self, config: RunConfig, job: str, run: str) -> None:
            try:
                super().work(config, job, run)
            finally:
                ended[run] = self.states[run]

    ended: dict[str, RunState] = {}
    workers = Revived([home(tmp_path, "dead"), home(tmp_path, "theirs")])
    handed_over(mine, spec, workers)(job, lambda news: None)
    for thread in workers.threads:
        thread.join()
    assert "no longer needed" in ended["run-0"].message
    assert digest(job.work) == digest(fitted_here(tmp_path, spec).work)


class SlowObjects:
    """A remote store whose every file takes longer than the time between two uploads."""

    def __init__(self, objects: Any) -> None:
        self._objects = objects

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    def read(self, key: str) -> Any:
        if not key.endswith(".json") or "checkpoints" in key:
            time.sleep(0.2)
        return self._objects.read(key)


@pytest.mark.slow
def test_a_slow_download_does_not_replace_the_checkpoints_by_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pool_link, "LIST_SECONDS", 0.01)
    monkeypatch.setattr(pool_link, "BEAT_SECONDS", 0.01)
    spec, mine, theirs = network(epochs=6), home(tmp_path, "mine"), home(tmp_path, "theirs")
    job = job_in(mine, spec, tmp_path / "mine" / "work")
    run_job(job, lambda news: None)
    shutil.rmtree(job.work / "bundle")
    remote = remote_store(theirs.execution.remote_store)
    assert remote is not None
    monkeypatch.setattr(remote, "objects", SlowObjects(remote.objects))
    with caplog.at_level(logging.INFO):
        handed_over(mine, spec, Workers([theirs]))(job, lambda news: None)
    assert "training resumes after" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("error", [EnoughSeen("pruned"), OSError("the disk")])
def test_only_a_fit_that_is_not_wanted_loses_its_checkpoints(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_link, "BEAT_SECONDS", 0.05)
    spec, mine = network(epochs=400), home(tmp_path, "mine")
    job = job_in(mine, spec, tmp_path / "mine" / "work")
    workers = Workers([home(tmp_path, "theirs")])

    def listen(news: dict[str, Any]) -> None:
        raise error

    with pytest.raises(type(error)):
        handed_over(mine, spec, workers)(job, listen)
    kept = exchange_of(tmp_path).read("job") is not None
    for thread in workers.threads:
        thread.join()
    assert kept == isinstance(error, OSError)
    assert "no longer needed" in workers.states["run-0"].message or workers.states["run-0"].word == "cancelled"


@pytest.mark.slow
def test_checkpoints_of_the_pool_win_over_what_was_begun_here_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Begun here, handed over, interrupted, handed over again: the second worker goes on where the first one was."""
    spec, mine = network(epochs=6), home(tmp_path, "mine")
    job = job_in(mine, spec, tmp_path / "mine" / "work")
    run_job(job, lambda news: None)
    shutil.rmtree(job.work / "bundle")

    class Interrupted(Workers):
        def submit(self, job: str, model: str) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        handed_over(mine, spec, Interrupted([]))(job, lambda news: None)
    assert not (job.work / "checkpoints").exists()
    sent = exchange_of(tmp_path).read("work")
    (job.work / "checkpoints").mkdir()  # as a download after lost workers leaves it
    with caplog.at_level(logging.INFO):
        handed_over(mine, spec, Workers([home(tmp_path, "theirs")]))(job, lambda news: None)
    assert sent is not None
    assert "training resumes after" in caplog.text


@pytest.mark.slow
def test_checkpoints_that_cannot_be_read_for_a_moment_are_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spec, mine, theirs = network(epochs=6), home(tmp_path, "mine"), home(tmp_path, "theirs")
    job = job_in(mine, spec, tmp_path / "mine" / "work")
    run_job(job, lambda news: None)
    shutil.rmtree(job.work / "bundle")
    remote = remote_store(theirs.execution.remote_store)
    assert remote is not None
    whole, failures = remote.objects, iter(range(2))

    class Failing(SlowObjects):
        def read(self, key: str) -> Any:
            if "checkpoints" in key and next(failures, None) is not None:
                raise RemoteError("the network")
            return whole.read(key)

    monkeypatch.setattr(remote, "objects", Failing(whole))
    with caplog.at_level(logging.INFO):
        handed_over(mine, spec, Workers([theirs, home(tmp_path, "second"), home(tmp_path, "third")]))(
            job, lambda news: None
        )
    assert "training resumes after" in caplog.text
    assert "starts anew" not in caplog.text


@pytest.mark.slow
def test_an_old_process_that_reports_a_failure_does_not_end_a_run_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_link, "BEAT_SECONDS", 0.05)
    spec, mine = network(epochs=100), home(tmp_path, "mine")
    job = job_in(mine, spec, tmp_path / "mine" / "work")

    class Misreported(Workers):
        def state(self, run: str) -> RunState:
            return RunState("failed", "of the process before")

    patience = dataclasses.replace(QUICK, ended=3.0)
    handed_over(mine, spec, Misreported([home(tmp_path, "theirs")]), patience)(job, lambda news: None)
    assert (job.work / "bundle").is_dir()
