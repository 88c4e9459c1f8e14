"""The benchmark of a mixture's latency: a network may take the place of the mixture's own, and all contenders step."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import benchmarks.mixture_latency as benchmark


class Counted:
    """A model that counts its steps."""

    def __init__(self) -> None:
        self.vocabulary_size, self.steps = 20, 0

    def start(self, batch: int) -> int:
        return batch

    def step(self, ids_B: np.ndarray, state: int) -> tuple[np.ndarray, int]:
        self.steps += 1
        assert len(ids_B) == state
        return np.zeros((state, 20)), state


def test_every_contender_takes_its_steps() -> None:
    models = {"one": Counted(), "other": Counted()}
    steps = {name: benchmark.reading(model, 3) for name, model in models.items()}  # type: ignore[arg-type]
    found = benchmark.step_ms(steps, steps=4, rounds=2)
    assert [model.steps for model in models.values()] == [10, 10]
    assert min(found.values()) >= 0


def test_a_model_without_a_network_is_refused() -> None:
    bundle = SimpleNamespace(spec=SimpleNamespace(name="kn5", kind="ngram"), model=Counted())
    with pytest.raises(SystemExit, match="'kn5' is of kind 'ngram', no mixture with a network"):
        benchmark.contenders_of(bundle)  # type: ignore[arg-type]
