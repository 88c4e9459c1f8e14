"""The race beside word_language_model: the recipe is that of `--minutes`, and the time is found by bisection."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.line_text import LineText
from benchmarks.training import train
from benchmarks.training.minutes import planned
from reviewlm.models.specs import RecurrentSpec
from reviewlm.tasks.planning.rule import Data, Machine, choose

WORDS = [f"word{number}" for number in range(300)]


def lines_of(count: int) -> list[list[str]]:
    draw = random.Random(count)
    return [draw.choices(WORDS, k=12) for _ in range(count)]


LINES = LineText.of({"train": lines_of(9_000), "valid": lines_of(100), "test": lines_of(101)})


@pytest.mark.parametrize("seconds", [3.0, 8.0, 45.0])
def test_the_race_trains_the_network_that_the_rule_chooses(seconds: float) -> None:
    machine = Machine(6_000.0, products="float32")
    text_bytes = sum(len(" ".join(line)) + 1 for line in LINES.lines["train"])
    data = Data(
        text_bytes, LINES.stream("train").tokens, sum(len(lines_of(n)) * 13 for n in (100, 101))
    )
    network = choose(data, machine, seconds)
    assert network
    ours = train.chosen(LINES, machine, seconds)
    product = planned(network)
    for name in ("kind", "hidden", "embedding", "dropout", "objective"):
        assert getattr(ours, name) == getattr(product, name), name
    for name in ("batch", "bptt_len", "learning_rate", "schedule", "beta1", "weight_decay", "clip"):
        assert getattr(ours.training, name) == getattr(product.training, name), name
    assert ours.training.epochs == network.passes


def test_the_benchmark_has_no_recipe_of_its_own() -> None:
    assert not [name for name, value in vars(train).items() if isinstance(value, RecurrentSpec)]


@given(st.floats(1, 100), st.integers(1, 12))
def test_the_least_time_is_found_as_finely_as_the_trials_allow(target: float, trials: int) -> None:
    tried = []

    def reaches(seconds: float) -> bool:
        tried.append(seconds)
        return seconds >= target

    found = train.least(reaches, 2.0, 64.0, trials)
    assert len(tried) == trials
    if found is None:
        assert max(tried) < target
    else:
        assert found >= target
        assert found <= max(target, 2.0) * 32.0 ** (0.5**trials) * (1 + 1e-9)
