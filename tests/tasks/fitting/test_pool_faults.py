"""A fit that a pool cannot do ends with an error that says why and what to do, and harms nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.config.presets import load_config
from core.errors import ArtifactError, ConfigError, Diverged, PoolFailed, ReviewLMError, TrackingUnavailable
from models.specs import NGramSpec
from tasks.fitting import pool_link
from tasks.fitting.fit import fit_version, is_handed_over
from tasks.fitting.pool_runs import RunState, Word, require_pool
from tasks.fitting.pool_worker import do_for_pool
from tests.tasks.fitting.pool_homes import Workers, exchange_of, handed_over, home, job_in, network

pytestmark = pytest.mark.usefixtures("own_homes")


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


@pytest.mark.parametrize(
    ("word", "said"),
    [("cancelled", "was cancelled in Prefect"), ("failed", "ended without a result"), ("completed", "ended without")],
)
def test_a_run_that_ends_without_a_word_ends_the_fit(tmp_path: Path, word: Word, said: str) -> None:
    spec, mine = network(), home(tmp_path, "mine")
    job = job_in(mine, spec, tmp_path / "mine" / "work")
    with pytest.raises(PoolFailed, match=said):
        handed_over(mine, spec, Workers([], ends=word))(job, lambda news: None)


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


def test_a_worker_of_a_run_that_nobody_waits_for_does_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_link, "WANTED_SECONDS", 0.2)
    theirs = home(tmp_path, "theirs")
    exchange_of(tmp_path).write("wanted", {"run": "another"})
    with pytest.raises(PoolFailed, match="no longer needed"):
        do_for_pool.fn(theirs, f"fit-{'0' * 16}", "this one")
    assert exchange_of(tmp_path).read("claim") is None


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
