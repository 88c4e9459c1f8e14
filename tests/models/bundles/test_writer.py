"""The model that writes texts: in int8 where this processor is quick at it and the fit says that little is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from models.bundles.bundle import INT8_LOSS, MOST_LOSS, Bundle
from models.neural.inference import int8
from models.sampling import generate, stream
from tests.serving.engine.small_models import bundle_of


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "is_quick", lambda: True)


def losing(kind: str, loss: float) -> Bundle:
    return replace(bundle_of(kind), facts={INT8_LOSS: loss})


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", ["lstm", "gru", "mixture", "neural_cache"])
def test_a_network_that_loses_little_writes_in_int8_and_scores_in_float32(kind: str) -> None:
    bundle = losing(kind, MOST_LOSS)
    assert bundle.writer.numbers == "int8"
    assert bundle.writer.model is not bundle.model
    assert bundle.score_text("The soup was cold.", 3) == bundle_of(kind).score_text("The soup was cold.", 3)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("facts", [{}, {INT8_LOSS: MOST_LOSS + 1e-6}, {INT8_LOSS: None}])
def test_what_loses_too_much_or_was_not_measured_stays_in_float32(facts: dict[str, float]) -> None:
    bundle = replace(bundle_of("lstm"), facts=facts)
    assert (bundle.writer.numbers, bundle.writer.model is bundle.model) == ("float32", True)


@pytest.mark.usefixtures("quick")
def test_an_ngram_model_has_no_form_in_int8() -> None:
    assert losing("ngram", 0.0).writer.numbers == "float32"


def test_a_processor_that_is_slow_in_int8_writes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "is_quick", lambda: False)
    assert losing("lstm", 0.0).writer.numbers == "float32"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", ["lstm", "mixture"])
def test_a_text_in_int8_depends_only_on_seed_and_number(kind: str) -> None:
    bundle = losing(kind, 0.0)
    texts = generate(bundle, 30, 3, "The soup", 0.8, 9, 0.9, 25, 4)
    assert texts != generate(bundle_of(kind), 30, 3, "The soup", 0.8, 9, 0.9, 25, 4)
    assert generate(bundle, 5, 3, "The soup", 0.8, 9, 0.9, 25, 4) == texts[:5]
    assert "".join(stream(bundle, 3, "The soup", 0.8, 9, 0.9, 25, 4)) == texts[0]
