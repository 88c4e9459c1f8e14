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

from models.vectors.bundle import examples, load_vectors, save_vectors
from models.vectors.word_vectors import WordVectors
from tracking.logged_models.export import log_bundle, smoke_test
from tracking.logged_models.forms import WORD_VECTORS
from tracking.logged_models.programs.smoke_texts import LOOKED_UP, main
from tracking.logged_models.programs.vectors_pyfunc import ReviewVectors
from tracking.runs.runs import Tracker

WORDS = ["the", "food", "good", "bad", "waiter"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    vectors = WordVectors(WORDS, np.random.default_rng(1).normal(size=(5, 3)), [5, 4, 3, 2, 1])
    save_vectors(tmp_path / "bundle", vectors, {"kind": "skipgram"}, {})
    return tmp_path / "bundle"


def opened(folder: Path) -> ReviewVectors:
    made: Any = ReviewVectors()
    made.load_context(SimpleNamespace(model_config={"package": "models"}, artifacts={"bundle": str(folder)}))
    return made  # type: ignore[no-any-return]


@pytest.fixture
def model(folder: Path) -> ReviewVectors:
    return opened(folder)


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


PARTS = [" the", " food", "ing", "new york", " "]


@pytest.fixture
def parts(tmp_path: Path) -> ReviewVectors:
    """A model with parts of words, of which some begin a word, and entries with spaces."""
    save_vectors(tmp_path / "parts", WordVectors(PARTS, np.eye(5)), {"kind": "skipgram"}, {})
    return opened(tmp_path / "parts")


@pytest.mark.parametrize(("text", "rows", "known"), [
    ("food", [1], ["food"]), ("Food", [1], ["Food"]), (" food", [1], [" food"]), ("ing", [2], ["ing"]),
    ("New York", [3], ["New York"]), ("the food pizza", [0, 1], ["the", "food"]), (" ", [4], [" "]), ("", [], []),
])  # fmt: skip
def test_entries_with_spaces_and_parts_that_begin_a_word_answer(
    text: str, rows: list[int], known: list[str], parts: ReviewVectors
) -> None:
    [told] = ask(parts, text, task="vector")
    assert told["known"] == known
    assert told["vector"] == (np.eye(5)[rows].mean(0).tolist() if rows else [])


def test_words_that_are_asked_for_in_the_smoke_test_are_the_bundles_own(parts: ReviewVectors, folder: Path) -> None:
    told = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    assert told["examples"] == ["the", "food"]
    assert WORD_VECTORS.example(told)[0]["text"].to_list() == ["the", "food"]
    assert examples(WordVectors([".", "2", "tea"], np.eye(3))) == ["tea", "."]


@pytest.mark.parametrize(("texts", "params", "said"), [
    (["food"], {"task": "analogy"}, "it must be 'nearest' or 'vector'"), (["food"], {"k": 0}, "at least 1"),
    ([3], {}, "it must be a string"), (["food"], {"top": 3}, "unknown parameter 'top'; known are task, k"),
])  # fmt: skip
def test_a_wrong_question_is_an_error(
    model: ReviewVectors, texts: list[Any], params: dict[str, Any], said: str
) -> None:
    with pytest.raises(MlflowException, match=said):
        ask(model, *texts, **params)


def test_the_smoke_test_shows_nearest_words_and_a_latency(
    model: ReviewVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = SimpleNamespace(
        predict=lambda frame, params: model.predict(None, frame, params),  # type: ignore[arg-type]
        input_example=pd.DataFrame({"text": ["waiter", "bad"]}),
    )
    monkeypatch.setattr(mlflow.pyfunc, "load_model", lambda uri: loaded)
    told = json.loads(main("models:/m", "word vectors"))
    assert set(told["latency_ms"]) == {"p50", "p95"}
    assert "waiter: " in told["said"]
    assert "good: " in told["said"]
    loaded.input_example = pd.DataFrame({"text": ["pizza", "bad"]})
    with pytest.raises(RuntimeError, match="does not know 'pizza', a word of its own"):
        main("models:/m", "word vectors")
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
        return [{"text": LOOKED_UP[0], **(vector if params["task"] == "vector" else near)}]

    loaded = SimpleNamespace(predict=predict, input_example={"text": []})
    monkeypatch.setattr(mlflow.pyfunc, "load_model", lambda uri: loaded)
    with pytest.raises(RuntimeError):
        main("models:/m", "word vectors")


@pytest.mark.slow
def test_a_logged_model_of_parts_of_words_passes_the_smoke_test(migrated_home: Path, tmp_path: Path) -> None:
    vectors = WordVectors([" zorb", " quux", "ish"], np.random.default_rng(1).normal(size=(3, 4)))
    save_vectors(tmp_path / "bundle", vectors, {"kind": "skipgram"}, {})
    tracker = Tracker(f"sqlite:///{migrated_home / 'mlflow.db'}", "reviewlm", migrated_home / "mlartifacts")
    uri = log_bundle(tracker, tracker.start_run("fit"), tmp_path / "bundle")
    smoke = smoke_test(tracker, uri, form=WORD_VECTORS)
    assert smoke.passed, smoke.detail
    assert " zorb: " in smoke.detail
