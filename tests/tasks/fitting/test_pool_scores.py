"""A worker of another home scores a network: the result is that of a scoring here, and small ones stay here."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.config.run_config import RunConfig
from core.errors import ConfigError, OutOfMemory
from core.store import Artifact, Store
from evaluation.scoring.score import SCORES_FILE
from models.specs import NGramSpec
from tasks.evaluation import score_job
from tasks.evaluation.evaluate import score_bundle
from tasks.evaluation.score_job import is_worth_handing_over
from tasks.fitting.fit_process import run_job
from tests.tasks.fitting.pool_homes import QUICK, Workers, home, job_in, network

pytestmark = pytest.mark.usefixtures("own_homes")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Bundles of a network and of an n-gram model, outside of any store."""
    folder, found = tmp_path_factory.mktemp("bundles"), {}
    for spec in (network(), NGramSpec(name="kn", order=2)):
        job = job_in(home(folder, spec.name), spec, folder / spec.name / "work")
        run_job(job, lambda news: None)
        found[spec.name] = job.bundle
    return found


def tokens_in(config: RunConfig) -> Artifact:
    """Return the validation stream of a home."""
    folder = job_in(config, network(), config.home / "job").validation
    found = Store.of(config).find("tokens", folder.name)
    assert found is not None
    return replace(found, manifest={**found.manifest, "facts": {"tokens": 100}})


def asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: Any) -> RunConfig:
    """Return the configuration of a home that hands every scoring of a network over to these workers."""
    monkeypatch.setattr(score_job, "LEAST_WORK", 1)
    monkeypatch.setattr("tasks.fitting.pool_caller.PoolRuns", lambda pool, machines: workers)
    monkeypatch.setattr("tasks.fitting.pool_caller.PATIENCE", QUICK)
    return home(tmp_path, "mine", fit_pool="gpu-pool")


@pytest.mark.slow
def test_scores_are_byte_for_byte_those_of_a_scoring_here(
    tmp_path: Path, bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = asking(tmp_path, monkeypatch, workers := Workers([home(tmp_path, "theirs")]))
    there = score_bundle(mine, bundles["lstm"], tokens_in(mine), "lstm test").artifact
    here_config = home(tmp_path, "here")
    here = score_bundle(here_config, bundles["lstm"], tokens_in(here_config), "lstm test").artifact
    assert [state.word for state in workers.states.values()] == ["completed"]
    assert {path.name for path in there.folder.iterdir()} == {path.name for path in here.folder.iterdir()}
    for file in (SCORES_FILE, "token_nats.parquet", "figures.json"):
        assert (there.folder / file).read_bytes() == (here.folder / file).read_bytes()
    facts = [{**one.facts, "score_seconds": None} for one in (there, here)]
    assert facts[0] == facts[1]
    assert there.digest == here.digest
    assert there.manifest["environment"]["resources"]["device"] == "cpu"
    assert not list((tmp_path / "shared" / "jobs").rglob("*")), "nothing is left in the remote store"
    assert not (tmp_path / "theirs" / "jobs").exists(), "nothing is left at the worker"


@pytest.mark.slow
def test_names_and_messages_speak_of_scoring(
    tmp_path: Path, bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mine = asking(tmp_path, monkeypatch, Workers([], ends="cancelled"))
    with pytest.raises(Exception, match="The scoring of 'lstm test' was cancelled in Prefect"):
        score_bundle(mine, bundles["lstm"], tokens := tokens_in(mine), "lstm test")
    titles: list[str] = []

    class Named(Workers):
        def submit(self, job: str, title: str) -> str:
            titles.append(title)
            return super().submit(job, title)

    mine = asking(tmp_path, monkeypatch, Named([home(tmp_path, "theirs")]))
    with caplog.at_level(logging.INFO):
        score_bundle(mine, bundles["lstm"], tokens, "lstm test")
    assert titles == ["score lstm test"]
    assert "lstm test: handed over to the workers of gpu-pool" in caplog.text


@pytest.mark.slow
def test_a_lost_worker_is_replaced(
    tmp_path: Path, bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Lost(Workers):
        def work(self, config: RunConfig, job: str, run: str, place: int = 0) -> None:
            if run == "run-0":
                self.states[run] = replace(self.states[run], word="crashed")
            else:
                super().work(config, job, run, place)

    mine = asking(tmp_path, monkeypatch, Lost([home(tmp_path, "lost"), home(tmp_path, "theirs")]))
    score_bundle(mine, bundles["lstm"], tokens_in(mine), "lstm test")
    assert "lstm test: its worker is lost; the next one" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "error"), [(MemoryError, OutOfMemory), (None, ConfigError)], ids=["memory", "other code"]
)
def test_an_error_there_keeps_its_kind(
    tmp_path: Path, bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch, what: Any, error: type[Exception]
) -> None:
    def fails(*_: object) -> Any:
        raise OutOfMemory("There is not enough memory to score 'lstm test'")

    if what:
        monkeypatch.setattr("tasks.fitting.pool_worker.run_job", fails)
    else:
        monkeypatch.setattr("tasks.evaluation.evaluate.score_version", lambda: "4+edited")
    mine = asking(tmp_path, monkeypatch, Workers([home(tmp_path, "theirs")]))
    with pytest.raises(error, match="to score 'lstm test'" if what else "would score 'lstm test' with other code"):
        score_bundle(mine, bundles["lstm"], tokens_in(mine), "lstm test")


def test_only_much_work_of_a_network_is_handed_over(
    tmp_path: Path, bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights of the network times the tokens are the work."""
    tokens = tokens_in(mine := home(tmp_path, "mine", fit_pool="gpu-pool"))
    (weights,) = bundles["lstm"].rglob("*.safetensors")
    for least, worth in ((weights.stat().st_size * 100, True), (weights.stat().st_size * 100 + 1, False)):
        monkeypatch.setattr(score_job, "LEAST_WORK", least)
        assert is_worth_handing_over(mine, bundles["lstm"], tokens) is worth
    monkeypatch.setattr(score_job, "LEAST_WORK", 1)
    assert not is_worth_handing_over(mine, bundles["kn"], tokens), "counting models need no GPU"
    assert not is_worth_handing_over(home(tmp_path, "other"), bundles["lstm"], tokens), "there is no pool"
    mixture = Path(shutil.copytree(bundles["lstm"], tmp_path / "mixture" / "parts" / "lstm")).parents[1]
    assert is_worth_handing_over(mine, mixture, tokens), "a model that holds a network is one"
    monkeypatch.setattr(score_job, "chosen_device", lambda device: "cuda")
    assert not is_worth_handing_over(mine, bundles["lstm"], tokens), "there is a GPU here"
