"""A worker of another home fits a network: the result is that of a fit here, also after kill -9."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.config.run_config import RunConfig
from core.store import Store
from models.specs import MixtureSpec, NGramSpec
from tasks.fitting import pool_link
from tasks.fitting.fit_process import run_job
from tasks.fitting.pool_runs import RunState
from tests.tasks.fitting.pool_homes import Workers, digest, exchange_of, fitted_here, handed_over, home, job_in, network

pytestmark = pytest.mark.usefixtures("own_homes")


@pytest.mark.slow
def test_the_model_is_bit_by_bit_that_of_a_fit_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_link, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(pool_link, "LIST_SECONDS", 0.1)
    spec, mine = network(epochs=40), home(tmp_path, "mine")
    job = job_in(mine, spec, tmp_path / "mine" / "work")
    heard: list[dict[str, Any]] = []
    pool = handed_over(mine, spec, Workers([home(tmp_path, "theirs")]))
    summary = pool(job, heard.append)
    pool.forget()
    assert not list((tmp_path / "shared" / "jobs").rglob("*")), "nothing is left in the remote store"
    assert pool.made_by["resources"] == {"device": "cpu", "ranks": 1, "threads": 1}
    assert pool.made_by["machine"]["cores"] >= 1
    here = fitted_here(tmp_path, spec)
    assert digest(job.work) == digest(here.work)
    assert summary["validation_perplexity"] > 1
    steps = [news["step"] for news in heard]
    assert steps, "progress comes"
    assert steps == sorted(steps)
    names, wanted = ({path.name for path in work.iterdir()} for work in (job.work, here.work))
    assert names == wanted - {"checkpoints"}
    assert not (tmp_path / "theirs" / "jobs").exists(), "nothing is left at the worker"


@pytest.mark.long
def test_a_mixture_takes_its_parts_along(tmp_path: Path) -> None:
    mine = home(tmp_path, "mine")
    spec = MixtureSpec(name="mix", parts=("kn", "lstm"))
    parts = {}
    for part in (NGramSpec(name="kn", order=2), network()):
        def make(folder: Path, part: Any = part) -> dict[str, int]:
            one = job_in(mine, part, folder / "work")
            run_job(one, lambda news: None)
            shutil.copytree(one.work / "bundle", folder / "bundle")
            shutil.rmtree(folder / "work")
            return {}

        parts[part.name] = Store.of(mine).build("fit", 1, {"name": part.name}, {}, make).artifact.folder / "bundle"
    job = dataclasses.replace(job_in(mine, spec, tmp_path / "mine" / "work"), parts=parts)
    handed_over(mine, spec, Workers([home(tmp_path, "theirs")]))(job, lambda news: None)
    here = dataclasses.replace(job_in(mine, spec, tmp_path / "here"), parts=parts)
    run_job(here, lambda news: None)
    assert digest(job.work) == digest(here.work)


@pytest.mark.long
def test_start_weights_come_from_outside_of_the_store(tmp_path: Path) -> None:
    mine, champion = home(tmp_path, "mine"), fitted_here(tmp_path, network())
    registered = Path(shutil.copytree(champion.work / "bundle", tmp_path / "registered"))
    spec = network(epochs=1, start="champion")
    jobs = [
        dataclasses.replace(job_in(mine, spec, tmp_path / "mine" / name), init_weights=registered)
        for name in ("there", "here")
    ]  # fmt: skip
    handed_over(mine, spec, Workers([home(tmp_path, "theirs")]))(jobs[0], lambda news: None)
    run_job(jobs[1], lambda news: None)
    fresh = dataclasses.replace(jobs[1], init_weights=None, work=tmp_path / "mine" / "fresh")
    fresh.work.mkdir()
    run_job(fresh, lambda news: None)
    assert digest(jobs[0].work) == digest(jobs[1].work) != digest(fresh.work)


WORKER = """
import json, os, sys
from core.config.presets import load_config
from tasks.fitting import pool_link
from tasks.fitting.pool_worker import do_for_pool
pool_link.BEAT_SECONDS, pool_link.LIST_SECONDS = 0.05, 0.1
settings, job = json.loads(sys.argv[1])
do_for_pool.fn(load_config("demo", settings), job, "run-0")
"""
"""A worker that can be killed."""


@pytest.mark.drill(
    "worker lost", "kill -9 of a worker that fits for another machine",
    "another one goes on from the last checkpoint; the same model",
)  # fmt: skip
@pytest.mark.slow
def test_after_kill_9_another_home_goes_on_from_the_last_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec, mine = network(epochs=150, evaluations=75), home(tmp_path, "mine")
    job = job_in(mine, spec, tmp_path / "mine" / "work")

    class Killed(Workers):
        """The first worker is killed as soon as checkpoints of it, of two files each, have arrived."""

        def work(self, config: RunConfig, job: str, run: str) -> None:
            if run != "run-0":
                super().work(config, job, run)
                return
            settings = [f"execution.{name}={getattr(config.execution, name)}" for name in ("remote_store", "home")]
            words = json.dumps([[*settings, "execution.threads=1"], job])
            process = subprocess.Popen([sys.executable, "-c", WORKER, words], cwd=Path(__file__).parents[3])
            self.states[run] = RunState("running")
            exchange = exchange_of(tmp_path)
            while sum(name.startswith("checkpoints") for name in (exchange.read("work") or {"files": ()})["files"]) < 4:
                assert process.poll() is None, "it ended too early to be killed"
                time.sleep(0.05)
            for one in (*psutil.Process(process.pid).children(recursive=True), process):
                one.kill()
            process.wait()
            self.states[run] = RunState("crashed")

    workers = Killed([home(tmp_path, "lost"), home(tmp_path, "theirs")])
    with caplog.at_level(logging.INFO):
        handed_over(mine, spec, workers)(job, lambda news: None)
    assert "its worker is lost; the next one continues" in caplog.text
    assert "training resumes after" in caplog.text
    assert digest(job.work) == digest(fitted_here(tmp_path, spec).work)


@pytest.mark.long
def test_what_was_fitted_here_so_far_goes_along(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spec, mine = network(epochs=6), home(tmp_path, "mine")
    job = job_in(mine, spec, tmp_path / "mine" / "work")
    run_job(job, lambda news: None)
    for left in ("bundle", "metrics.jsonl"):  # as if it had been killed before its end
        path = job.work / left
        shutil.rmtree(path) if path.is_dir() else None
    with caplog.at_level(logging.INFO):
        handed_over(mine, spec, Workers([home(tmp_path, "theirs")]))(job, lambda news: None)
    assert "training resumes after" in caplog.text
