"""The benchmark of quality: a network beside the 5-gram and their mixture, on the same tokens."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import benchmarks.quality as benchmark
from benchmarks.line_text import LineText
from models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec

SPEC = RecurrentSpec(
    hidden=16, embedding=16, objective=ObjectiveSpec(head=4), training=TrainingSpec(epochs=2, batch=4, window=10)
)


def lines() -> LineText:
    words, draw = ["the", "food", "was", "good", "bad", "cold", "and", "service", "slow"], random.Random(3)
    return LineText.of(
        {
            name: [draw.choices(words, k=draw.randint(3, 9)) for _ in range(count)]
            for name, count in (("train", 200), ("valid", 60), ("test", 60))
        }
    )


def test_network_5_gram_and_mixture_are_compared_on_all_test_tokens(tmp_path: Path) -> None:
    text = lines()
    model, summary = benchmark.train(text, "chicago", SPEC, tmp_path, 1)
    row = benchmark.beside_kneser_ney(text, model, tmp_path)["test reviews"]
    assert row["tokens"] == text.reviews("test").tokens
    assert row["perplexity lstm"] == pytest.approx(benchmark._static(model, text.reviews("test")), abs=0.01)
    assert row["perplexity"] <= min(row["perplexity lstm"], row["perplexity kn5"]) * 1.02
    assert summary["tokens"] == pytest.approx(2 * text.reviews("train").tokens, rel=0.1)


@pytest.mark.parametrize("name", sorted(benchmark.RECIPES))
def test_every_recipe_has_a_goal_and_a_text(name: str) -> None:
    assert name in benchmark.GOALS
    assert name in benchmark.TEXTS
