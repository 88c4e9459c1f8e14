"""How the smoke test times a model: against a clock that is set by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from reviewlm.tracking.logged_models.smoke import (
    REVIEWS,
    ROUNDS,
    TYPED,
    answers,
    labels,
    latency,
)

TEXTS = TYPED.count(" ")
SUGGESTIONS = ROUNDS * TEXTS


class Model:
    """Answers whose seconds are given one by one; `now` is what the clock shows."""

    def __init__(
        self,
        seconds: list[float],
        written: str = "four words of text",
        writing: float = 1.0,
    ) -> None:
        self.now, self.seconds, self.written, self.writing = 0.0, iter(seconds), written, writing
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def ask(self, text: str, **params: Any) -> dict[str, Any]:
        self.asked.append((text, params))
        generates = params["task"] == "generate"
        self.now += self.writing if generates else next(self.seconds)
        return {"texts": [self.written] * params["n"]} if generates else {"words": [], "rest": 1.0}

    def clock(self) -> float:
        return self.now


def milliseconds(model: Model, busy: float = 1.0) -> dict[str, float]:
    """Latency of a model whose seconds are wall time, on a machine that gives it 1 / *busy* processors."""
    return latency(model.ask, model.clock, lambda: model.now / busy)


def test_a_busy_machine_does_not_make_the_model_slow() -> None:
    assert milliseconds(Model([0.4] * SUGGESTIONS), busy=8) == pytest.approx(
        {
            "p50": 50,
            "p95": 50,
            "word": 1000 / 8 / 8,
        }
    )
    threads = milliseconds(Model([0.5] * SUGGESTIONS), busy=0.5)
    assert threads["p95"] == pytest.approx(500), "two threads: wall time counts"
    assert milliseconds(Model([0.4] * SUGGESTIONS))["p95"] == pytest.approx(400), (
        "a slow model stays slow"
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rest": 0.9}, "sum to 1.2"),
        ({"nats": math.inf}, "inf nats"),
        ({"nats": -1.0}, "-1.0 nats"),
        ({"texts": ["Something else"]}, "does not begin with the prompt"),
    ],
)
def test_answers_that_make_no_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    good = {
        "texts": ["The food was fine"],
        "words": [{"word": "good", "probability": 0.3}],
        "rest": 0.7,
        "nats": 2.0,
        "perplexity": 3.0,
    }
    assert "'The food was fine'" in answers(lambda text, **params: good)
    with pytest.raises(RuntimeError, match=message):
        answers(lambda text, **params: {**good, **wrong})


# A classifier


class Labeller:
    """A classifier that needs a microsecond for each character, and the first time a second more."""

    def __init__(self, **wrong: Any) -> None:
        self.now, self.alone, self.wrong = 0.0, 0, wrong
        self.seen: set[str] = set()

    def ask(self, *texts: str) -> Any:
        pairs = zip("15", self.wrong.get("chances", (0.25, 0.75)), strict=True)
        named = [{"label": name, "probability": chance} for name, chance in pairs]
        found = [{"label": "5", "labels": named} for _ in texts]
        if len(texts) > 1:
            return found
        self.alone += 1
        self.now += len(texts[0]) / 1e6 + (texts[0] not in self.seen)
        self.seen |= set(texts)
        return {**found[0], "label": self.wrong.get("label", "5")}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"label": "6"}, "none of the labels"),
        ({"label": "1"}, "depends on other rows"),
        ({"chances": (0.5, 0.75)}, "sum to 1.25"),
    ],
)
def test_labels_that_make_no_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    assert labels(Labeller().ask).endswith(", ".join("5" * len(REVIEWS)))
    with pytest.raises(RuntimeError, match=message):
        labels(Labeller(**wrong).ask)
