"""The stage "observe": files, facts, the same reviews for every vocabulary, and what makes it run again."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from prefect import State

from reviewlm.core.config.presets import load_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.store import Artifact, Store
from reviewlm.evaluation.scoring.observe import COLUMNS
from reviewlm.models.bundles.bundle import save_bundle
from reviewlm.models.specs import NGramSpec, VocabularySpec
from reviewlm.models.streams import TokenStream, write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.tasks.evaluation.evaluate import observe, score_bundle, scores_of
from reviewlm.tasks.evaluation.observed import RELIABILITY_FILE, TOKEN_SCORES_FILE
from reviewlm.tasks.fitting.job import Fitted
from reviewlm.training.context import FitContext
from reviewlm.training.fit import fit_model
from reviewlm.training.vocabularies.learn import learn_vocabulary

TINY = Path(__file__).resolve().parents[2] / "flows" / "tiny.toml"
WORDS = [
    "the",
    "soup",
    "bread",
    "tea",
    "was",
    "good",
    "bad",
    "cold",
    "fine",
    "and",
    "we",
    "will",
    "come",
    "back",
]


def frame(
    split: str,
    count: int,
    seed: int,
) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    texts = [" ".join(draw.choice(WORDS, draw.integers(3, 20))) for _ in range(count)]
    rows = pl.DataFrame(
        {
            "review_id": [f"{split}{n}" for n in range(count)],
            "text": texts,
            "stars": [5] * count,
        }
    )
    return rows.with_columns(bytes=pl.col("text").str.len_bytes().cast(pl.Int64) + 1)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("observed")


@pytest.fixture
def config(home: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    monkeypatch.setenv("REVIEWLM_HOME", str(home))
    return load_config(str(TINY), ["evaluation.observed_reviews=8"])


@pytest.fixture(scope="module")
def made(home: Path) -> dict[str, tuple[Path, dict[str, Artifact]]]:
    """By name: bundle and token streams of a word model, a character model and one with impossible words."""
    frames = {
        "train": frame("a", 40, 1),
        "validation": frame("b", 12, 2),
        "test": frame("c", 30, 3),
    }
    store, found = Store(home / "store"), {}
    for name, unit, spec in (
        ("kn", "word", NGramSpec(order=3, name="kn")),
        ("chars", "char", NGramSpec(order=3, name="chars")),
        (
            "mle",
            "word",
            NGramSpec(
                order=3,
                name="mle",
                smoothing="maximum_likelihood",
            ),
        ),
    ):
        options = VocabularySpec(unit=unit, size=300, min_count=1)  # type: ignore[arg-type]
        vocabulary = learn_vocabulary(frames["train"]["text"].to_list(), options, NormalForm())
        tokens = {
            split: store.build(
                "tokens",
                1,
                {"split": split},
                {"vocabulary": vocabulary.digest},
                lambda work, rows=rows: write_stream(work, vocabulary, [rows]),  # noqa: B023
            ).artifact
            for split, rows in frames.items()
        }
        train, validation = (
            TokenStream.open(tokens[split].folder) for split in ("train", "validation")
        )
        folder = home / name
        model = fit_model(
            spec,
            vocabulary,
            train,
            validation,
            FitContext(folder / "work"),
        ).model
        save_bundle(
            folder / "bundle",
            spec,
            vocabulary,
            model,
            [("the soup was good", 5)],
            {},
        )
        found[name] = folder / "bundle", tokens
    return found


def observed(
    config: RunConfig,
    made: Any,
    name: str,
) -> tuple[Artifact, Artifact, bool]:
    folder, tokens = made[name]
    scores = score_bundle(
        config.workspace,
        config.evaluation,
        folder,
        tokens["test"],
        name,
    ).artifact
    fitted = Fitted(NGramSpec(name=name), Artifact("fit", name, str(folder.parent)), "", True)
    prepared: Any = SimpleNamespace(tokens={"word": tokens})
    result: Any = observe.fn(
        config.workspace,
        config.evaluation,
        fitted,
        scores,
        prepared,
    )
    reused = isinstance(result, State)
    return scores, result.data if reused else result, reused


@pytest.fixture
def seen(config: RunConfig, made: Any) -> Any:
    """The facts and tables of the stage, with the nats of its reviews as they were scored."""
    scores, artifact, _ = observed(config, made, "kn")
    rows = pl.read_parquet(artifact.folder / TOKEN_SCORES_FILE)
    sums = rows.group_by("review_id", maintain_order=True).agg(pl.col("nats").sum(), pl.len())
    joined = sums.join(scores_of(scores), on="review_id", suffix="_scored")
    table = pl.read_parquet(artifact.folder / RELIABILITY_FILE)
    return SimpleNamespace(
        facts=artifact.facts,
        rows=rows,
        joined=joined,
        reliability=table,
    )


def test_the_tokens_of_the_stage_cost_what_their_reviews_do(seen: Any) -> None:
    assert seen.rows.schema == COLUMNS
    assert len(seen.joined) == seen.facts["reviews"] == 8
    np.testing.assert_allclose(seen.joined["nats"], seen.joined["nats_scored"], rtol=1e-9)
    assert seen.facts["tokens"] == len(seen.rows) == seen.joined["tokens"].sum()


def test_the_figures_of_the_stage_follow_from_its_tokens(seen: Any) -> None:
    facts, rows, joined = seen.facts, seen.rows, seen.joined
    assert facts["hit@1"] == pytest.approx((rows["suggestion"] == 1).fill_null(False).mean())
    assert facts["nll"] == pytest.approx(joined["nats_scored"].sum() / joined["tokens"].sum())
    spared = rows["keys_spared"].sum() / joined["bytes"].sum()
    assert facts["keystroke_savings"] == pytest.approx(spared)
    assert facts["entropy"] == pytest.approx(rows["entropy"].mean())


def test_the_table_of_reliability_counts_every_token(seen: Any) -> None:
    table, rows = seen.reliability, seen.rows
    assert table["count"].sum() == len(rows)
    accuracy = (table["mean_accuracy"].fill_null(0) * table["count"]).sum() / len(rows)
    assert accuracy == pytest.approx((rows["rank"] == 1).mean())


def test_models_of_any_vocabulary_are_observed_on_the_same_reviews(
    config: RunConfig, made: Any
) -> None:
    ids = {
        name: pl.read_parquet(observed(config, made, name)[1].folder / TOKEN_SCORES_FILE)[
            "review_id"
        ]
        .unique()
        .sort()
        for name in ("kn", "chars")
    }
    assert ids["kn"].to_list() == ids["chars"].to_list()


def test_a_model_with_impossible_words_is_observed_in_the_open(
    config: RunConfig, made: Any
) -> None:
    facts = observed(config, made, "mle")[1].facts
    assert facts["nll"] == math.inf
    assert math.isfinite(facts["ece"] + facts["keystroke_savings"] + facts["entropy"])


def test_only_what_the_result_depends_on_makes_it_run_again(config: RunConfig, made: Any) -> None:
    first = observed(config, made, "kn")[1]
    again, reused = observed(config, made, "kn")[1:]
    assert (again.digest, reused) == (first.digest, True)
    for change in ("evaluation.observed_reviews=9",):
        other = load_config(str(TINY), ["evaluation.observed_reviews=8", change])
        assert observed(other, made, "kn")[1].digest != first.digest
    same = load_config(str(TINY), ["evaluation.observed_reviews=8", "evaluation.resamples=300"])
    assert observed(same, made, "kn")[1].digest == first.digest
