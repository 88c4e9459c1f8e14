"""The benchmark of a mixture's latency: a network may take the place of the mixture's own, and all contenders step."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import benchmarks.models.mixture_latency as benchmark
from benchmarks import harness
from models.neural.inference.whole_numbers import int8_is_exact
from tests.serving.engine.small_models import bundle_of


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


@pytest.mark.skipif(not int8_is_exact(), reason="this processor has no exact products of 8 bits")
def test_in_int8_only_the_network_changes() -> None:
    models = benchmark.contenders_of(bundle_of("gated"))
    quick = benchmark.all_in_int8(models)
    assert list(quick) == list(models) == ["mix", "lstm"]
    pairs = zip(models["mix"].models, quick["mix"].models, strict=True)  # type: ignore[attr-defined]
    assert [before is after for before, after in pairs] == [True, False]
    with pytest.raises(SystemExit, match="int8 is not used here"):
        benchmark.all_in_int8({"kn3": bundle_of("ngram").model})


@pytest.mark.slow
def test_a_page_has_every_number_format(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(benchmark, "open_version", lambda config, name: (bundle_of("gated"), None))
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    formats = ["float32", "int8"] if int8_is_exact() else ["float32"]
    benchmark.main(["--quick", "--write", "--repeats", "1", "--streams", "2", "--numbers", *formats])
    [page] = tmp_path.iterdir()
    for numbers in formats:
        for work in ("generation", "reading"):
            assert f"| {numbers}.{work}.2 |" in page.read_text()
            assert f"| mix, {numbers}, {work}, 2 streams |" in page.read_text()
