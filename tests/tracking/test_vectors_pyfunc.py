"""Logged word vectors answer what `WordVectors` answers, and their smoke test refuses answers without sense."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from models.vectors.bundle import load_vectors, save_vectors
from models.vectors.word_vectors import WordVectors
from tracking.logged_models.programs.smoke_vectors import TEXTS, main
from tracking.logged_models.programs.vectors_pyfunc import ReviewVectors

WORDS = ["the", "food", "good", "bad", "waiter"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    vectors = WordVectors(WORDS, np.random.default_rng(1).normal(size=(5, 3)), [5, 4, 3, 2, 1])
    save_vectors(tmp_path / "bundle", vectors, {"kind": "skipgram"}, {})
    return tmp_path / "bundle"


@pytest.fixture
def model(folder: Path) -> ReviewVectors:
    made: Any = ReviewVectors()
    made.load_context(SimpleNamespace(model_config={"package": "models"}, artifacts={"bundle": str(folder)}))
    return made  # type: ignore[no-any-return]


def ask(model: ReviewVectors, *texts: Any, **params: Any) -> list[dict[str, Any]]:
    return model.predict(None, pd.DataFrame({"text": texts}), params)  # type: ignore[arg-type]


def test_one_word_has_the_neighbours_and_the_vector_of_word_vectors(model: ReviewVectors, folder: Path) -> None:
    vectors = load_vectors(folder).vectors
    near, upper = ask(model, "food", "Food", k=3)
    assert [(one["word"], one["cosine"]) for one in near["nearest"]] == [
        (one.word, pytest.approx(one.cosine)) for one in vectors.neighbours("food", 3)
    ]
    assert upper["nearest"] == near["nearest"]
    assert near["bundle"] == load_vectors(folder).digest[:12]
    assert ask(model, "bad", task="vector")[0]["vector"] == pytest.approx(vectors.vector("bad").tolist())


def test_several_words_stand_for_the_mean_of_their_unit_vectors(model: ReviewVectors, folder: Path) -> None:
    vectors = load_vectors(folder).vectors
    middle = (vectors.unit_ND[1] + vectors.unit_ND[2]) / 2
    [near] = ask(model, "good pizza food", k=9)
    assert [one["word"] for one in near["nearest"]] == [one.word for one in vectors.nearest(middle, 9, (1, 2))]
    assert (near["known"], near["unknown"]) == (["good", "food"], ["pizza"])
    assert ask(model, "good food", task="vector")[0]["vector"] == pytest.approx(middle.tolist())


def test_words_without_a_vector_have_empty_answers(model: ReviewVectors) -> None:
    for text in ("pizza", "", "  "):
        assert ask(model, text)[0]["nearest"] == []
        assert ask(model, text, task="vector")[0]["vector"] == []


@pytest.mark.parametrize(("texts", "params", "said"), [
    (["food"], {"task": "analogy"}, "it must be 'nearest' or 'vector'"), (["food"], {"k": 0}, "at least 1"),
    ([3], {}, "it must be a string"),
])  # fmt: skip
def test_a_wrong_question_is_an_error(
    model: ReviewVectors, texts: list[Any], params: dict[str, Any], said: str
) -> None:
    with pytest.raises(MlflowException, match=said):
        ask(model, *texts, **params)


def test_the_smoke_test_shows_nearest_words_and_a_latency(
    model: ReviewVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = SimpleNamespace(predict=lambda frame, params: model.predict(None, frame, params))  # type: ignore[arg-type]
    monkeypatch.setattr(mlflow.pyfunc, "load_model", lambda uri: opened)
    told = json.loads(main("models:/m"))
    assert set(told["latency_ms"]) == {"p50", "p95"}
    assert "good: " in told["said"]
    assert "no-such-word" not in told["said"]


@pytest.mark.parametrize(("near", "vector"), [
    ({"nearest": [{"word": "a", "cosine": 2.0}], "known": ["the"]}, {"vector": [1.0]}),
    ({"nearest": [], "known": ["the"]}, {"vector": [float("nan")]}),
    ({"nearest": [], "known": ["the"]}, {"vector": []}),
])  # fmt: skip
def test_the_smoke_test_refuses_answers_without_sense(
    near: dict[str, Any], vector: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def predict(frame: pd.DataFrame, params: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"text": TEXTS[0], **(vector if params["task"] == "vector" else near)}]

    monkeypatch.setattr(mlflow.pyfunc, "load_model", lambda uri: SimpleNamespace(predict=predict))
    with pytest.raises(RuntimeError):
        main("models:/m")
