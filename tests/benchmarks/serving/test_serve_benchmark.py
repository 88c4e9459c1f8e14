"""The benchmark of generation: every contender takes steps, and the engine counts the tokens that it was asked for."""

from __future__ import annotations

import pytest

import benchmarks.serving.serve as benchmark
from models.bundles.bundle import Bundle
from models.neural.inference.whole_numbers import int8_is_exact

pytestmark = pytest.mark.long


def test_all_contenders_generate_with_the_same_network() -> None:
    words = benchmark.vocabulary(60)
    model = benchmark.network(words.size)
    contenders = {"eager": benchmark.eager(model, 2), "float32": benchmark.batched(model, 2, False)}
    found = benchmark.step_ms(contenders, steps=2, rounds=1)
    assert set(found) == set(contenders)
    assert min(found.values()) > 0
    if int8_is_exact():
        assert benchmark.engine_tokens(Bundle(benchmark.SPEC, words, model), 3, 7) > 0
