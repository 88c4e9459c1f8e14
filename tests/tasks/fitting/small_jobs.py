"""Homes and jobs of small fits for tests, without Prefect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from reviewlm.core.config.presets import load_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.store import Store
from reviewlm.models.specs import RecurrentSpec, TrainingSpec, VocabularySpec
from reviewlm.models.streams import write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.tasks.data.prepare import VOCABULARY_FILE
from reviewlm.tasks.fitting.job import LanguageModelJob
from reviewlm.training.vocabularies.learn import learn_vocabulary

TEXTS = [
    f"The {food} was {word}."
    for food in ("soup", "bread", "tea")
    for word in ("good", "bad", "cold", "fine")
]


def home(tmp_path: Path, name: str, **execution: object) -> RunConfig:
    settings = {"home": tmp_path / name, "threads": 1}
    return load_config(
        "demo", [f"execution.{key}={value}" for key, value in (settings | execution).items()]
    )


def network(epochs: float = 3, **training: Any) -> RecurrentSpec:
    options = {
        "epochs": epochs,
        "batch": 2,
        "bptt_len": 8,
        "precision": "float32",
        "evaluations": 3,
        **training,
    }
    return RecurrentSpec(
        name="lstm",
        hidden=8,
        embedding=8,
        training=TrainingSpec(**options),
    )


def reviews(split: str, texts: list[str]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "review_id": [f"{split}{n}" for n in range(len(texts))],
            "text": texts,
            "stars": [5] * len(texts),
            "bytes": [len(text) + 1 for text in texts],
            "words": [len(text.split()) for text in texts],
        }
    )


def written(folder: Path, **texts: list[str]) -> Path:
    """Write the streams of some splits and the vocabulary of the training texts into a folder, and return it."""
    vocabulary = learn_vocabulary(texts["train"], VocabularySpec(min_count=1), NormalForm())
    vocabulary.save(folder / VOCABULARY_FILE)
    for split, some in texts.items():
        write_stream(folder / split, vocabulary, [reviews(split, some)])
    return folder


def job_of(
    data: Path,
    work: Path,
    spec: Any,
    **options: Any,
) -> LanguageModelJob:
    """Return a job on the streams of a folder."""
    work.mkdir(exist_ok=True)
    return LanguageModelJob(
        spec=spec,
        vocabulary=data / VOCABULARY_FILE,
        train=data / "train",
        validation=data / "validation",
        work=work,
        facts={"fit_digest": "x"},
        **options,
    )


def job_in(
    config: RunConfig,
    spec: Any,
    work: Path,
) -> LanguageModelJob:
    """Return a job whose inputs are results in the store of a home."""
    vocabulary = learn_vocabulary(TEXTS, VocabularySpec(min_count=1), NormalForm())

    def words(folder: Path) -> dict[str, int]:
        vocabulary.save(folder / VOCABULARY_FILE)
        return {}

    def stream(split: str) -> Callable[[Path], dict[str, int]]:
        def make(folder: Path) -> dict[str, int]:
            write_stream(folder, vocabulary, [reviews(split, TEXTS)])
            return {}

        return make

    store = Store.of(config.home)
    learnt = store.build(
        "vocabulary",
        1,
        {},
        {},
        words,
    ).artifact
    train, validation = (
        store.build(
            "tokens",
            1,
            {"split": split},
            {},
            stream(split),
        ).artifact
        for split in ("train", "validation")
    )
    work.mkdir(parents=True)
    return LanguageModelJob(
        spec=spec,
        vocabulary=learnt.folder / VOCABULARY_FILE,
        train=train.folder,
        validation=validation.folder,
        work=work,
        facts={"fit_digest": "0" * 16},
    )
