"""A champion among word vectors as the gate finds it: whole, damaged, of another family of models."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from core.config.presets import load_config
from core.config.run_config import RunConfig
from core.errors import ConfigError
from core.lineage.family import NOT_KNOWN
from core.store import Artifact
from evaluation.vectors.ranked_words import WordWindows, windows_of_words
from models.vectors.bundle import VectorsBundle, save_vectors
from models.vectors.word_vectors import WordVectors
from tasks.embedding import champion as module
from tasks.embedding.champion import (
    ChampionVectors,
    cut_of,
    open_champion_vectors,
    rank_champion_reviews,
    require_name_of_vectors,
)
from tasks.fitting.fit import bundle_digest
from tasks.stage import run_stage

WORDS = ["tea", "cake", "pie", "soup"]


def bundle_in(folder: Path, seed: int = 1, **facts: Any) -> Path:
    rng = np.random.default_rng(seed)
    vectors = WordVectors(WORDS, rng.normal(size=(4, 3)), [4, 3, 2, 1], {}, rng.normal(size=(4, 3)).astype(np.float32))
    save_vectors(folder, vectors, {"kind": "skipgram", "name": "vectors", "unit": "word", "lowercase": True}, facts)
    return folder


def registered(monkeypatch: pytest.MonkeyPatch, folder: Path, champion: bool = True, **tags: str) -> None:
    """Register a folder as version 4 of any model that is asked for."""
    version = SimpleNamespace(version=4, tags=tags, name="shelf")
    shelf = SimpleNamespace(
        alias=lambda name: version if champion else None, bundle_folder=lambda version: folder,
        versions=lambda: [version],
    )  # fmt: skip
    monkeypatch.setattr(module, "registry_of", lambda config: shelf)
    monkeypatch.setattr(module, "family_of_version", lambda *given: "reviews")


@pytest.mark.parametrize(("told", "family"), [({"format": 1}, "language model"), ({"task": "classification"}, "class")])
@pytest.mark.parametrize("champion", [True, False])
def test_a_registered_model_of_another_family_is_refused_before_anything_is_trained(
    told: dict[str, Any], family: str, champion: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spec.json").write_text(json.dumps(told), encoding="utf-8")
    registered(monkeypatch, tmp_path, champion)
    config = load_config("small", ["embedding.model_name=mine", "embedding.promotion.replace_lost_champion=true"])
    with pytest.raises(ConfigError, match=rf"holds no word vectors: version 4 is of another family \({family}"):
        require_name_of_vectors.fn(config)
    if champion:
        with pytest.raises(ConfigError, match="holds no word vectors"):
            open_champion_vectors.fn(config)


@pytest.mark.parametrize("settings", [
    ["promotion.model_name=mine"], ["classification.promotion.model_name=mine"],
])  # fmt: skip
def test_the_name_of_another_model_of_the_same_configuration_is_refused(settings: list[str]) -> None:
    with pytest.raises(ConfigError, match="have the same registered model"):
        require_name_of_vectors.fn(load_config("small", ["embedding.model_name=mine", *settings]))


@pytest.mark.parametrize(("spec", "cut"), [
    ({"unit": "word", "lowercase": True}, "word, lower case"),
    ({"unit": "word", "lowercase": False}, "word, case kept"), ({"unit": "bpe", "lowercase": True}, "bpe"), ({}, ""),
])  # fmt: skip
def test_the_description_of_vectors_says_how_a_text_is_cut(spec: dict[str, Any], cut: str) -> None:
    assert cut_of(VectorsBundle(WordVectors(["tea"], np.ones((1, 2))), spec, "")) == cut


def test_vectors_are_opened_and_damaged_ones_are_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registered(monkeypatch, bundle_in(tmp_path))
    config = load_config("small")
    require_name_of_vectors.fn(config)
    found = open_champion_vectors.fn(config)
    assert found is not None
    assert found.vectors is not None
    assert (found.vectors.words, found.cut) == (WORDS, "word, lower case")
    (tmp_path / "spec.json").write_text("changed", encoding="utf-8")
    require_name_of_vectors.fn(config)
    lost = open_champion_vectors.fn(config)
    assert lost is not None
    assert lost.problem.startswith("the champion, version 4, cannot be opened")


def topics(*pairs: str) -> WordVectors:
    """Return vectors of four words; the two of a pair have the same vector."""
    number = {word: row for row, pair in enumerate(pairs) for word in pair.split()}
    matrix = np.eye(2)[[number[word] for word in WORDS]].astype(np.float32)
    return WordVectors(WORDS, matrix, [1] * 4, {}, matrix)


def prepared(config: RunConfig, name: str, **splits: range) -> Artifact:
    """Store reviews of one topic each: tea and cake, or pie and soup."""
    rows = [(f"r{number:03d}", f"{('tea cake', 'pie soup')[number % 2]} " * 4 + f"{number}", split)
            for split, numbers in splits.items() for number in numbers]  # fmt: skip
    table = pl.DataFrame(rows, ["review_id", "text", "split"], orient="row").with_columns(
        pl.lit(5, pl.Int8).alias("stars"),
        pl.col("text").str.len_bytes().cast(pl.Int32).alias("bytes"),
        *(pl.lit("").alias(column) for column in ("user_id", "business_id", "categories")),
        pl.lit(None, pl.Datetime("us")).alias("date"),
    )

    def make(work: Path) -> dict[str, Any]:
        table.write_parquet(work / "clean.parquet")
        return {"splits": {split: {"reviews": len(numbers)} for split, numbers in splits.items()}}

    return run_stage(config, "prepare", {"name": name}, {}, make).artifact


@pytest.fixture
def ask(own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Rank the words of the champion's own reviews; of its forty, the challenger has learnt from three."""
    monkeypatch.setattr("tasks.promotion.ancestry.registry_of", lambda config: SimpleNamespace(versions=list))
    config = load_config("small").asking("reviewlm-vectors")
    then = prepared(config, "then", test=range(40), train=range(40, 100))
    today = prepared(config, "now", test=range(200, 260), train=[*range(3), *range(300, 340)])  # type: ignore[arg-type]
    bundle = bundle_in(tmp_path / "challenger", clean_digest=today.digest)

    def cut(table: pl.DataFrame) -> WordWindows:
        return windows_of_words(table["review_id"], table["text"].str.split(" "))

    def asked(
        data: str = "", champion: str = "c", settings: tuple[str, ...] = (), before: Artifact | None = None
    ) -> Any:
        theirs = ChampionVectors(4, champion, NOT_KNOWN, topics("tea cake", "pie soup"), data=data or then.digest)
        chosen = load_config("small", list(settings)).asking("reviewlm-vectors")
        ours = topics("tea pie", "cake soup")
        return rank_champion_reviews(chosen, before or today, bundle, ours, theirs, cut, True)

    return SimpleNamespace(of=asked, then=then, digest=bundle_digest(bundle))


def test_both_rank_the_champions_reviews_that_the_challenger_has_not_learnt_from(ask: Any) -> None:
    kept = ask.of()
    assert (kept.reviews, kept.learnt_ids, kept.learnt_texts, kept.tried) == (40, 3, 0, 37)
    assert kept.champion.review_ids.to_list() == [f"r{number:03d}" for number in range(3, 40)]
    assert kept.champion.ranked > 0.65, "the topics of the champion are those of its reviews"
    assert kept.challenger.ranked < 0.5


def test_reviews_are_not_ranked_twice_and_not_without_need(ask: Any) -> None:
    assert ask.of(before=ask.then).same
    assert ask.of(champion=ask.digest) is None
    assert ask.of(settings=("embedding.promotion.max_champion_loss=none",)) is None


def test_data_that_are_gone_are_a_finding_with_a_remedy(ask: Any) -> None:
    problem = ask.of(data="gone").problem
    assert "version 4, cannot be measured on its own test reviews" in problem
    assert "embedding.promotion.max_champion_loss=none" in problem
    assert "reviewlm lineage reviewlm-vectors/4" in problem
