"""Homes, jobs and workers of a pool for tests, without Prefect."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from core.config.presets import load_config
from core.config.run_config import RunConfig
from core.store import Store
from core.storing.job_exchange import JobExchange
from core.storing.remote import remote_store
from models.bundles.bundle import load_bundle
from models.specs import RecurrentSpec, TrainingSpec, VocabularySpec
from models.streams import write_stream
from models.text.normal_form import NormalForm
from models.tokens.vocabulary import Vocabulary
from tasks.data.prepare import VOCABULARY_FILE
from tasks.fitting.fit import fit_version
from tasks.fitting.fit_process import run_job
from tasks.fitting.job import LanguageModelJob
from tasks.fitting.pool_caller import Handover
from tasks.fitting.pool_runs import ORDER, Patience, RunState, Word, members_of
from tasks.fitting.pool_worker import do_for_pool

TEXTS = [f"The {food} was {word}." for food in ("soup", "bread", "tea") for word in ("good", "bad", "cold", "fine")]
QUICK = Patience(poll=0.05, untaken=0.3, crashed=0.1, ended=0.5, silent=30, away=2)


def home(tmp_path: Path, name: str, **execution: object) -> RunConfig:
    (tmp_path / "shared").mkdir(exist_ok=True)
    settings = {"remote_store": f"file://{tmp_path / 'shared'}", "home": tmp_path / name, "device": "cpu", "threads": 1}
    return load_config("demo", [f"execution.{key}={value}" for key, value in (settings | execution).items()])


def network(epochs: float = 3, **training: Any) -> RecurrentSpec:
    options = {"epochs": epochs, "batch": 2, "bptt_len": 8, "precision": "float32", "evaluations": 3, **training}
    return RecurrentSpec(name="lstm", hidden=8, embedding=8, training=TrainingSpec(**options))


def job_in(config: RunConfig, spec: Any, work: Path) -> LanguageModelJob:
    """Return a job whose inputs are results in the store of a home."""
    vocabulary = Vocabulary.train(TEXTS, VocabularySpec(min_count=1), NormalForm())

    def words(folder: Path) -> dict[str, int]:
        vocabulary.save(folder / VOCABULARY_FILE)
        return {}

    def stream(split: str) -> Callable[[Path], dict[str, int]]:
        frame = pl.DataFrame(
            {"review_id": [f"{split}{n}" for n in range(len(TEXTS))], "text": TEXTS, "stars": [5] * len(TEXTS),
             "bytes": [len(text) + 1 for text in TEXTS], "words": [4] * len(TEXTS)}
        )  # fmt: skip

        def make(folder: Path) -> dict[str, int]:
            write_stream(folder, vocabulary, [frame])
            return {}

        return make

    store = Store.of(config)
    learnt = store.build("vocabulary", 1, {}, {}, words).artifact
    train, validation = (
        store.build("tokens", 1, {"split": split}, {}, stream(split)).artifact for split in ("train", "validation")
    )
    work.mkdir(parents=True)
    return LanguageModelJob(
        spec=spec, vocabulary=learnt.folder / VOCABULARY_FILE, train=train.folder, validation=validation.folder,
        work=work, facts={"fit_digest": "0" * 16},
    )  # fmt: skip


class Workers:
    """Workers in threads of this process, one home for each run; `ends` says how a run ends, if not by itself."""

    pool = "gpu-pool"

    def __init__(self, homes: list[RunConfig], ends: Word | None = None) -> None:
        self.homes, self.ends = iter(homes), ends
        self.states: dict[str, RunState] = {}
        self.threads: list[threading.Thread] = []
        self.waiting: str | None = None

    def submit(self, job: str, model: str) -> str:
        run = f"run-{len(self.states)}"
        self.states[run] = RunState("waiting" if self.ends is None else self.ends)
        if self.ends is None:
            self.threads.append(threading.Thread(target=self.work, args=(next(self.homes), job, run)))
            self.threads[-1].start()
        return run

    def work(self, config: RunConfig, job: str, run: str, place: int = 0) -> None:
        self.states[run] = RunState("running")
        try:
            do_for_pool.fn(config, job, run, place)
            self.states[run] = RunState("completed")
        except Exception as error:
            self.states[run] = RunState("failed", str(error))

    def unfinished(self, job: str, wanted: str) -> str | None:
        return self.waiting

    def state(self, run: str) -> RunState:
        return self.states[run]

    def cancel(self, run: str) -> None:
        self.states[run] = RunState("cancelled")


class Team(Workers):
    """Two workers that train one network together, each in a home of its own."""

    def submit(self, job: str, model: str) -> str:
        first = len(self.states)
        names = [f"run-{first + place}" for place in range(2)]
        for place, name in enumerate(names):
            self.states[name] = RunState("waiting")
            self.threads.append(threading.Thread(target=self.work, args=(next(self.homes), job, name, place)))
        for thread in self.threads[-2:]:
            thread.start()
        return ",".join(names)

    def state(self, run: str) -> RunState:
        return min((self.states[name] for name in members_of(run)), key=lambda state: ORDER.index(state.word))

    def cancel(self, run: str) -> None:
        for name in members_of(run):
            super().cancel(name)


def handed_over(
    config: RunConfig, spec: Any, workers: Any, patience: Patience = QUICK, code: str = "", machines: int = 1
) -> Handover:
    return Handover(config, "fit", "0" * 16, code or str(fit_version(spec)), machines, workers, patience=patience)


def exchange_of(tmp_path: Path) -> JobExchange:
    remote = remote_store(f"file://{tmp_path / 'shared'}")
    assert remote is not None
    return JobExchange(remote.objects, f"fit-{'0' * 16}")


def digest(work: Path) -> str:
    return load_bundle(work / "bundle").digest


def fitted_here(tmp_path: Path, spec: Any) -> LanguageModelJob:
    job = job_in(home(tmp_path, "here"), spec, tmp_path / "here" / "work")
    run_job(job, lambda news: None)
    return job


