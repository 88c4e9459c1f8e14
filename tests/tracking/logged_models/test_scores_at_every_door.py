"""What a model is measured as is what it answers: `score` at every door gives the evaluation's figures of each review.

The model has a cache, which starts empty with every text, so neither the order of the texts nor what was asked before
may show in an answer.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import polars as pl
import pytest
from typer.testing import CliRunner

from reviewlm.cli import app
from reviewlm.evaluation.scoring.metrics import LN2
from reviewlm.evaluation.scoring.score import SCORES_FILE, score_into_folder
from reviewlm.models.bundles.bundle import Bundle, load_bundle, save_bundle
from reviewlm.models.specs import CacheSpec, NGramSpec, VocabularySpec
from reviewlm.models.streams import TokenStream, write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.tracking.logged_models.pyfunc import ReviewModel
from reviewlm.training.context import FitContext
from reviewlm.training.fit import fit_model
from reviewlm.training.vocabularies.learn import learn_vocabulary

FOODS, TASTES = ("pizza", "soup", "burger", "salad"), ("good", "cold", "great", "stale")
TEXTS = [
    f"The {food} was {taste}. A {taste} {food}, {ask}! The {food} and the {food} again, {taste} and {taste}."
    for food in FOODS
    for taste in TASTES
    for ask in ("really", "they said", "sadly")
]
GIBBERISH, PLAIN = "zxqv blorf gneep wibble", "The soup was good"
STARS = 4


def reviews_of(texts: list[str]) -> pl.DataFrame:
    frame = pl.DataFrame({"review_id": [f"r{i:02d}" for i in range(len(texts))], "text": texts})
    return frame.with_columns(
        stars=pl.lit(STARS, pl.Int8), bytes=pl.col("text").str.len_bytes() + 1
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bigram model with a cache on it, as a bundle, and the evaluation's scores of some reviews."""
    folder = tmp_path_factory.mktemp("doors")
    vocabulary = learn_vocabulary(TEXTS, VocabularySpec(min_count=1), NormalForm())
    write_stream(folder / "stream", vocabulary, [reviews_of(TEXTS)])
    stream, kn = TokenStream.open(folder / "stream"), NGramSpec(name="kn2", order=2)
    part = fit_model(
        kn,
        vocabulary,
        stream,
        stream,
        FitContext(folder),
    ).model
    save_bundle(
        folder / "kn2",
        kn,
        vocabulary,
        part,
        [],
        {},
    )
    spec = CacheSpec(part="kn2", order=1)
    model = fit_model(
        spec,
        vocabulary,
        stream,
        stream,
        FitContext(folder, parts={"kn2": folder / "kn2"}),
    ).model
    model.weights_RP[1:] = (
        0.6,
        0.4,
    )  # of so small a corpus hardly any is tuned: nothing of the cache would show
    save_bundle(
        folder / "bundle",
        spec,
        vocabulary,
        model,
        [(TEXTS[0], STARS)],
        {},
    )
    return folder


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return load_bundle(folder / "bundle")


@pytest.fixture
def model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ReviewModel:
    """The bundle as MLflow opens it, with the code that is installed in the place of a copy."""
    monkeypatch.setattr("reviewlm.tracking.logged_models.pyfunc.open_code", lambda package: None)
    model = ReviewModel()
    config = {"package": "reviewlm.models", "family": "language model"}
    model.load_context(
        SimpleNamespace(model_config=config, artifacts={"bundle": folder / "bundle"})
    )  # type: ignore[arg-type]
    return model


@pytest.fixture(scope="module")
def asked() -> list[str]:
    """Reviews of a few dishes each: what one is about must not make the next one cheaper."""
    return [TEXTS[3], TEXTS[3], GIBBERISH, TEXTS[20], PLAIN, "salad salad salad", TEXTS[3]]


@pytest.fixture(scope="module")
def measured(
    folder: Path,
    bundle: Bundle,
    asked: list[str],
) -> list[dict[str, Any]]:
    write_stream(folder / "asked", bundle.vocabulary, [reviews_of(asked)])
    (folder / "scores").mkdir()
    score_into_folder(bundle, TokenStream.open(folder / "asked"), folder / "scores")
    return pl.read_parquet(folder / "scores" / SCORES_FILE).sort("review_id").to_dicts()


def open_bits(row: dict[str, Any]) -> float:
    return float((row["nats"] + row["spelling_nats"]) / row["bytes"] / LN2)


def test_a_bundle_scores_each_text_as_the_evaluation_did(
    bundle: Bundle,
    asked: list[str],
    measured: list[dict[str, Any]],
) -> None:
    for text, row in reversed(list(zip(asked, measured, strict=True))):
        score = bundle.score_text(text, STARS)
        assert score.nats == pytest.approx(row["nats"])
        assert score.spelling_nats == pytest.approx(row["spelling_nats"])
        assert score.surface_nats == pytest.approx(row["surface_nats"])
        assert (score.bytes, score.tokens, score.oov) == (row["bytes"], row["tokens"], row["oov"])
        assert score.open_bits_per_byte == pytest.approx(open_bits(row))


def test_letters_are_paid_for_unknown_words_alone(bundle: Bundle, asked: list[str]) -> None:
    scores = [bundle.score_text(text, STARS) for text in asked]
    assert {bool(score.oov) for score in scores} == {True, False}
    for score in scores:
        assert score.surface_nats > 0
        letters = score.spelling_nats - score.surface_nats
        assert (letters > 1e-6) == (score.oov > 0)


def test_the_verb_scores_each_line_as_the_evaluation_did(
    bundle: Bundle,
    asked: list[str],
    measured: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REVIEWLM_HOME", str(tmp_path / "home"))
    version = SimpleNamespace(
        name="reviewlm",
        version=1,
        run_model="",
        answer_fields={},
    )
    monkeypatch.setattr("reviewlm.verbs.model.open_registered", lambda *asked: (bundle, version))
    # This version has no run.
    monkeypatch.setattr("reviewlm.verbs.model._say_test_figure", lambda *asked: None)
    (tmp_path / "texts").write_text("\n\n".join(asked))
    done = CliRunner().invoke(
        app, ["score", str(tmp_path / "texts"), "--stars", str(STARS), "--json"]
    )
    lines = done.stdout.splitlines()
    said = json.loads(lines[-1])
    found = {each["line"]: each["open_bits_per_byte"] for each in said["scores"]}
    assert found == pytest.approx(
        {2 * number + 1: open_bits(row) for number, row in enumerate(measured)}
    )
    whole = (
        sum(row["nats"] + row["spelling_nats"] for row in measured)
        / sum(row["bytes"] for row in measured)
        / LN2
    )
    assert said["open_bits_per_byte"] == pytest.approx(whole)
    for name in ("spelling_nats", "surface_nats"):
        assert said[name] == pytest.approx(sum(row[name] for row in measured))
    labels = {
        "texts": "texts",
        "bytes": "bytes",
        "tokens": "tokens",
        "unknown words": "oov",
    }
    for label, name in labels.items():
        [value] = [line.split()[-1] for line in lines if line.startswith(label)]
        assert value == str(said[name])
    [headline] = [line.split()[-1] for line in lines if line.startswith("open bits per byte")]
    assert headline == f"{whole:.3f}"


def test_the_served_model_scores_each_row_as_the_evaluation_did(
    model: ReviewModel,
    asked: list[str],
    measured: list[dict[str, Any]],
) -> None:
    rows = pd.DataFrame({"text": asked})
    for _ in range(2):  # what was asked before leaves nothing behind
        answers = model.predict(None, rows, {"task": "score", "stars": STARS})  # type: ignore[arg-type]
        assert [each["open_bits_per_byte"] for each in answers] == pytest.approx(
            [open_bits(row) for row in measured]
        )
        assert [each["nats"] for each in answers] == pytest.approx(
            [row["nats"] for row in measured]
        )


def ask_once(model: ReviewModel, text: str, **params: Any) -> dict[str, Any]:
    """Return the answer of a logged model for one text."""
    return model.predict(None, pd.DataFrame({"text": [text]}), params)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("The soup was", {"task": "suggest", "k": 5}),
        (
            "The",
            {
                "task": "generate",
                "n": 2,
                "seed": 3,
            },
        ),
    ],
    ids=["suggest", "generate"],
)
def test_an_answer_begins_from_the_fresh_state(
    text: str,
    params: dict[str, Any],
    model: ReviewModel,
) -> None:
    before = ask_once(model, text, **params)
    ask_once(model, "cold soup cold soup cold soup", task="suggest")
    assert ask_once(model, text, **params) == before


def test_the_cache_remembers_the_text_itself(model: ReviewModel) -> None:
    warm, cold = (
        {
            word["word"]: word["probability"]
            for word in ask_once(model, text, task="suggest")["words"]
        }
        for text in ("stale stale stale The soup was", "The soup was")
    )
    assert warm["stale"] > cold.get("stale", 0)
