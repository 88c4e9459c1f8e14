"""Canaries and the audit as stages: planted in the training stream alone, done once, done again when it matters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from reviewlm.core.config.presets import parse_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.evaluation import AuditConfig
from reviewlm.core.store import Artifact
from reviewlm.corpus.cleaning.clean_table import CLEAN
from reviewlm.corpus.synthetic.canaries import Canaries, as_reviews
from reviewlm.evaluation.writing.audit import TABLES
from reviewlm.models.bundles.bundle import save_bundle
from reviewlm.models.specs import NGramSpec
from reviewlm.models.streams import TokenStream
from reviewlm.models.tokens.special import CONTEXT_IDS
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.tasks.data.prepare import (
    VOCABULARY_FILE,
    Prepared,
    choose,
    tokenize,
    train_vocabulary,
)
from reviewlm.tasks.evaluation.evaluate import audit, log_audit, reference_of
from reviewlm.tasks.execution.stage import run_stage
from reviewlm.tasks.fitting.job import Fitted
from reviewlm.training.ngram.counting.counts import count_ngrams
from tests.estimated_ngrams import estimate_ngrams

WORDS = [a + b + c for a in "bdfgkl" for b in "aeiou" for c in "rs"]
OPTIONS = {
    "samples": 10,
    "max_words": 12,
    "canaries": 3,
    "candidates": 100,
}


def config_of(**audit: Any) -> RunConfig:
    return parse_config({"audit": {**OPTIONS, **audit}, "execution": {"device": "cpu"}})


def result_of(found: Any) -> Any:
    return getattr(found, "data", found)


def canaries_of(prepared: Prepared) -> Artifact:
    assert prepared.canaries is not None
    return prepared.canaries


def write_clean(folder: Path) -> dict[str, Any]:
    random = np.random.default_rng(8)
    splits = ["test"] * 20 + ["validation"] * 20 + ["train"] * 160
    texts = [" ".join(random.choice(WORDS, 10)) for _ in splits]
    rows = pl.DataFrame({"review_id": [f"r{i}" for i in range(len(splits))], "text": texts})
    table = as_reviews(rows, 0).with_columns(
        stars=pl.Series([1 + i % 5 for i in range(len(splits))], dtype=pl.Int8),
        split=pl.Series(splits),
    )
    missing = [
        pl.lit(None, kind).alias(name) for name, kind in CLEAN.items() if name not in table.columns
    ]
    table.with_columns(missing).select(*CLEAN).write_parquet(folder / "clean.parquet")
    return {"splits": {name: {"reviews": splits.count(name)} for name in set(splits)}}


@pytest.fixture(autouse=True, scope="module")
def _room_for_canaries() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AuditConfig, "max_canary_share", 0.05)
        yield


@pytest.fixture
def prepared(own_home: Path) -> Prepared:
    """Reviews with canaries, as the flow prepares them."""
    config = config_of()
    workspace = config.workspace
    clean = run_stage(
        workspace,
        "prepare",
        {},
        {},
        write_clean,
    ).artifact
    canaries = result_of(choose.fn(workspace, config.audit, clean))
    spec = config.vocabulary["word"]
    vocabulary = result_of(
        train_vocabulary.fn(
            workspace,
            "word",
            spec,
            config.clean,
            clean,
        )
    )
    file = str(vocabulary.folder / VOCABULARY_FILE)
    tokens = {}
    for split in ("train", "validation", "test"):
        planted = canaries if split == "train" else None
        tokens[split] = result_of(
            tokenize.fn(
                workspace,
                file,
                split,
                clean,
                "word",
                planted,
            )
        )

    return Prepared(
        clean,
        clean,
        {"word": vocabulary},
        {"word": tokens},
        (),
        canaries,
    )


@pytest.fixture
def fitted(prepared: Prepared, tmp_path: Path) -> Fitted:
    """An n-gram model of the training stream."""
    vocabulary = Vocabulary.load(prepared.vocabularies["word"].folder / VOCABULARY_FILE)
    stream = TokenStream.open(prepared.tokens["word"]["train"].folder)
    model = estimate_ngrams(count_ngrams(stream, 3, vocabulary.size, CONTEXT_IDS))
    spec = NGramSpec(order=3)
    save_bundle(
        tmp_path / "bundle",
        spec,
        vocabulary,
        model,
        [("bar bas", 5)],
        {},
    )
    return Fitted(spec, Artifact("fit", "", str(tmp_path)), "", True)


def audited(
    config: RunConfig,
    fitted: Fitted,
    prepared: Prepared,
) -> Artifact:
    """Return the audit of a model, as the flow has it done."""
    return audit.fn(config.workspace, config.audit, fitted, prepared)


def test_canaries_stand_in_the_training_stream_alone(prepared: Prepared) -> None:
    streams = {
        split: TokenStream.open(one.folder) for split, one in prepared.tokens["word"].items()
    }
    ids = {split: stream.documents["review_id"] for split, stream in streams.items()}
    planted = {split: names.str.starts_with("canary-").sum() for split, names in ids.items()}
    assert planted == {
        "train": 3,
        "validation": 0,
        "test": 0,
    }
    assert len(streams["train"]) == 163
    assert (
        prepared.tokens["word"]["train"].manifest["inputs"]["canaries"]
        == canaries_of(prepared).digest
    )
    assert canaries_of(prepared).facts["planted"] == 3
    assert len(Canaries.load(canaries_of(prepared).folder).texts) == 3


def test_without_canaries_a_training_stream_is_what_it_was_before_there_were_any(
    prepared: Prepared,
) -> None:
    file = str(prepared.vocabularies["word"].folder / VOCABULARY_FILE)
    bare = result_of(
        tokenize.fn(
            config_of().workspace,
            file,
            "train",
            prepared.clean,
            "word",
        )
    )
    assert bare.manifest["inputs"].keys() == {"vocabulary", "clean"}
    assert bare.digest != prepared.tokens["word"]["train"].digest


def test_a_model_is_audited_once(prepared: Prepared, fitted: Fitted) -> None:
    first = audited(config_of(), fitted, prepared)
    again: Any = audited(config_of(), fitted, prepared)
    assert (again.name, result_of(again)) == ("Reused", first)


def test_an_audit_with_more_samples_finds_the_same_exposure(
    prepared: Prepared, fitted: Fitted
) -> None:
    first = result_of(audited(config_of(), fitted, prepared))
    more = audited(config_of(samples=12), fitted, prepared)
    assert first.facts["samples"] == 10
    assert more.facts["samples"] == 12
    assert first.facts["exposure_max"] == more.facts["exposure_max"] > 4  # it counts what it read
    assert all((first.folder / table).exists() for table in TABLES)


def test_one_reference_serves_all_audits(prepared: Prepared, fitted: Fitted) -> None:
    audited(config_of(), fitted, prepared)
    config = config_of()
    assert reference_of(config.workspace, config.audit, prepared.clean).reused


def test_where_nothing_was_planted_the_rest_is_audited_all_the_same(
    prepared: Prepared, fitted: Fitted
) -> None:
    bare = Prepared(prepared.clean, prepared.clean, prepared.vocabularies, prepared.tokens)
    facts = audited(config_of(canaries=0), fitted, bare).facts
    assert facts["exposure_max"] is None
    assert facts["copied_4"] is not None


@pytest.fixture
def logged(prepared: Prepared, fitted: Fitted) -> Any:
    """The facts of an audit, and the batches of figures and the tables that MLflow gets of it."""
    artifact = result_of(audited(config_of(), fitted, prepared))
    batches: list[dict[str, float]] = []
    tables: dict[str, pl.DataFrame] = {}
    tracker: Any = SimpleNamespace(
        log_metrics=lambda run, metrics: batches.append(dict(metrics)),
        log_table=lambda run, table, file: tables.update({file: table}),
    )
    log_audit(tracker, "run", artifact)
    return SimpleNamespace(
        facts=artifact.facts,
        batches=batches,
        tables=tables,
    )


def test_the_figures_of_an_audit_are_logged_in_one_batch(logged: Any) -> None:
    [figures] = logged.batches
    assert figures["audit/exposure_max"] == logged.facts["exposure_max"]
    assert all(isinstance(value, float) for value in figures.values())


def test_the_tables_of_an_audit_are_logged(logged: Any) -> None:
    names = ("samples", "copied", "exposure", "novelty", "private")
    assert logged.tables.keys() == {f"audit/{name}.json" for name in names}
