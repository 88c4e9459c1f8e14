"""How the smoke test times a classifier: one text at a time, long ones too, against a clock that is set by hand."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import mlflow.pyfunc
import pytest

from tracking.logged_models.programs import smoke_texts
from tracking.logged_models.programs.smoke_texts import REVIEWS, ROUNDS, main


class Model:
    """A classifier that needs a millisecond for each character, and the first time a second more."""

    def __init__(self) -> None:
        self.now, self.alone = 0.0, 0
        self.seen: set[str] = set()

    def predict(self, frame: Any, params: None = None) -> list[dict[str, Any]]:
        texts = list(frame["text"])
        if len(texts) == 1:
            self.alone += 1
            self.now += len(texts[0]) / 1_000 + (texts[0] not in self.seen)
            self.seen |= set(texts)
        return [{"label": "5", "labels": [{"label": "1", "probability": 0.25}, {"label": "5", "probability": 0.75}]}
                for _ in texts]  # fmt: skip


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    made = Model()
    monkeypatch.setattr(mlflow.pyfunc, "load_model", lambda uri: made)
    clock = SimpleNamespace(perf_counter=lambda: made.now, process_time=lambda: made.now)
    monkeypatch.setattr(smoke_texts, "time", clock)
    return made


def test_the_latency_is_that_of_the_slowest_text_at_its_fastest(model: Model) -> None:
    told = json.loads(main("models:/m", "classifier"))
    lengths = sorted(map(len, REVIEWS))
    assert told["latency_ms"] == {"p50": lengths[len(lengths) // 2 - 1], "p95": lengths[-1]}
    assert model.alone == ROUNDS * len(REVIEWS)


def test_one_text_is_as_long_as_the_longest_reviews() -> None:
    longest = max(REVIEWS, key=len)
    assert len(longest.split()) == 1_170, "as docs/concepts/evaluation/classification.md says"
    assert len(longest) <= 5_000
