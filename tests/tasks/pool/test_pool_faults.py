"""What goes wrong between the machine that asks for a fit and its workers, and what it costs."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from core.config.presets import load_config
from core.config.run_config import RunConfig
from core.errors import ArtifactError, ConfigError, Diverged, PoolFailed, ReviewLMError, TrackingUnavailable
from core.storing.objects import RemoteError
from core.storing.remote import remote_store
from models.specs import NGramSpec
from tasks.fitting.fit import fit_version, is_handed_over
from tasks.fitting.fit_process import run_job
from tasks.fitting.listeners import EnoughSeen
from tasks.fitting.pool_runs import RunState, Word, require_pool
from tasks.pool import link
from tasks.pool.worker import do_for_pool
from tests.tasks.pool.pool_homes import (
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


@pytest.fixture(autouse=True)
def own_homes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REVIEWLM_HOME", raising=False)
    remote_store.cache_clear()


@pytest.mark.long
def test_an_error_of_the_fit_keeps_its_kind_and_names_the_machine(tmp_path: Path) -> None:
    spec, mine = network(epochs=50, learning_rate=1e30, clip=None), home(tmp_path, "mine")
    job = job_in(mine, spec, tmp_path / "mine" / "work")
    with pytest.raises(Diverged) as found:
        handed_over(mine, spec, Workers([home(tmp_path, "theirs")]))(job, lambda news: None)
    assert found.value.where.startswith("lstm, on ")
    assert exchange_of(tmp_path).read("job") is None, "a later attempt does not go on from there"


def test_a_worker_with_other_code_refuses(tmp_path: Path) -> None:
    spec, mine = network(), home(tmp_path, "mine")
    job = job_in(mine, spec, tmp_path / "mine" / "work")
    with pytest.raises(ConfigError, match="other code than the machine that submitted it") as found:
        handed_over(mine, spec, Workers([home(tmp_path, "theirs")]), code="5+edited")(job, lambda news: None)
    assert found.value.remedy == "bring both to the same commit"


def test_without_a_worker_it_waits_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spec, mine = network(), home(tmp_path, "mine")
    job = job_in(mine, spec, tmp_path / "mine" / "work")
    workers = Workers([], ends="waiting")
    monkeypatch.setattr("tasks.fitting.pool_caller.interrupted", lambda: "worker start --pool gpu-pool" in caplog.text)
    with pytest.raises(PoolFailed, match="interrupted"):
        handed_over(mine, spec, workers)(job, lambda news: None)
    assert workers.states["run-0"].word == "cancelled"
    assert caplog.text.count("no worker of the pool 'gpu-pool' has taken it") == 1


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


@pytest.mark.parametrize(
    ("word", "said"),
    [("cancelled", "was cancelled in Prefect"), ("failed", "ended without a result"), ("completed", "ended without")],
)
def test_a_run_that_ends_without_a_word_ends_the_fit(tmp_path: Path, word: Word, said: str) -> None:
    spec, mine = network(), home(tmp_path, "mine")
    job = job_in(mine, spec, tmp_path / "mine" / "work")
    with pytest.raises(PoolFailed, match=said):
        handed_over(mine, spec, Workers([], ends=word))(job, lambda news: None)


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
    monkeypatch.setattr(link, "BEAT_SECONDS", 0.05)
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
    monkeypatch.setattr(link, "LIST_SECONDS", 0.01)
    monkeypatch.setattr(link, "BEAT_SECONDS", 0.01)
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


def test_an_end_without_a_model_is_not_taken_for_one(tmp_path: Path) -> None:
    spec, mine = network(), home(tmp_path, "mine")
    job = job_in(mine, spec, tmp_path / "mine" / "work")
    exchange = exchange_of(tmp_path)
    (empty := tmp_path / "empty").mkdir()
    end = {"run": "x", "machine": "m", "code": str(fit_version(spec)), "summary": {}, "made_by": {}}
    exchange.send_folder("end", empty, tmp_path / "copies", **end)
    with pytest.raises(ArtifactError, match="hand") as found:
        handed_over(mine, spec, Workers([]))(job, lambda news: None)
    assert f"the result of the fit lacks the file {job.result.name}" in found.value.cause


@pytest.mark.slow
@pytest.mark.parametrize("error", [EnoughSeen("pruned"), OSError("the disk")])
def test_only_a_fit_that_is_not_wanted_loses_its_checkpoints(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "BEAT_SECONDS", 0.05)
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
def test_a_prefect_server_that_stays_away_ends_the_wait_with_a_remedy(tmp_path: Path) -> None:
    spec, mine = network(), home(tmp_path, "mine")
    job = job_in(mine, spec, tmp_path / "mine" / "work")

    class Away(Workers):
        def state(self, run: str) -> RunState:
            raise ConnectionError("refused")

    with pytest.raises(TrackingUnavailable, match="Prefect") as found:
        handed_over(mine, spec, Away([], ends="waiting"))(job, lambda news: None)
    assert "last checkpoint" in found.value.remedy
    assert exchange_of(tmp_path).read("job") is not None


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


def test_a_worker_of_a_run_that_nobody_waits_for_does_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "WANTED_SECONDS", 0.2)
    theirs = home(tmp_path, "theirs")
    exchange_of(tmp_path).write("wanted", {"run": "another"})
    with pytest.raises(PoolFailed, match="no longer needed"):
        do_for_pool.fn(theirs, f"fit-{'0' * 16}", "this one")
    assert exchange_of(tmp_path).read("claim") is None


@pytest.mark.slow
def test_an_old_process_that_reports_a_failure_does_not_end_a_run_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "BEAT_SECONDS", 0.05)
    spec, mine = network(epochs=100), home(tmp_path, "mine")
    job = job_in(mine, spec, tmp_path / "mine" / "work")

    class Misreported(Workers):
        def state(self, run: str) -> RunState:
            return RunState("failed", "of the process before")

    patience = dataclasses.replace(QUICK, ended=3.0)
    handed_over(mine, spec, Misreported([home(tmp_path, "theirs")]), patience)(job, lambda news: None)
    assert (job.work / "bundle").is_dir()


@pytest.mark.parametrize("name", ["", "../store", "fit-", "fit-1/../../x", "tokens"])
def test_only_the_name_of_a_job_becomes_a_folder(tmp_path: Path, name: str) -> None:
    theirs = home(tmp_path, "theirs")
    (kept := theirs.home / "store" / "kept").mkdir(parents=True)
    with pytest.raises(ConfigError, match="not the name of a job"):
        do_for_pool.fn(theirs, name, "run")
    assert kept.is_dir()


def test_a_remote_store_that_is_away_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    spec, mine = network(), home(tmp_path, "mine")
    job = job_in(mine, spec, tmp_path / "mine" / "work")
    shutil.rmtree(tmp_path / "shared")
    with pytest.raises(ArtifactError, match="handed over") as found:
        handed_over(mine, spec, Workers([]))(job, lambda news: None)
    assert "doctor" in found.value.remedy


def test_only_networks_are_handed_over(tmp_path: Path) -> None:
    pool = home(tmp_path, "mine", fit_pool="gpu-pool")
    assert is_handed_over(pool, network())
    assert not is_handed_over(pool, NGramSpec())
    assert not is_handed_over(home(tmp_path, "mine"), network())


def test_a_pool_needs_a_remote_store_and_a_server_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ReviewLMError, match="fit_pool needs remote_store"):
        load_config("demo", ["execution.fit_pool=gpu-pool"])
    pool = home(tmp_path, "mine", fit_pool="gpu-pool")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(ReviewLMError, match="a Prefect server that they can reach"):
        require_pool(pool)
    with pytest.raises(ReviewLMError, match="--minutes plans"):
        require_pool(pool, minutes=True)
    require_pool(home(tmp_path, "mine"))
