"""The benchmark of mixtures: its made-up text has contexts of every length, and its ratios say who met the goal."""

from __future__ import annotations

import pytest

import benchmarks.models.mixture as benchmark
from benchmarks.models.mixture import VOCABULARY, MadeUp, ratios_of, step_times
from models.mixture.context import matched_before
from models.mixture.tuning import batches
from models.ngram.counting.counts import count_ngrams
from models.ngram.lm import NGramLM
from models.tokens.vocabulary import CONTEXT_IDS, EOS


def test_contexts_of_every_length_are_known_in_text_that_was_not_trained_on() -> None:
    model = NGramLM.from_counts(count_ngrams(MadeUp(500), 5, VOCABULARY, CONTEXT_IDS))
    batch = next(iter(batches(MadeUp(20, seed=2), 10_000)))
    known = matched_before(model, batch.ids_BT, model.start(len(batch.ids_BT))).length[batch.scored_BT]
    assert {1, 2, 3, 4} <= set(known.tolist())
    assert (batch.ids_BT == EOS).sum() == 20


@pytest.mark.slow
def test_steps_of_all_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "MadeUp", lambda reviews: MadeUp(50))
    monkeypatch.setattr(benchmark, "SIZES", {"tiny": (8, 8)})
    row = step_times(None, None, "tiny", streams=2, rounds=2)
    assert set(row) == {"kn5_ms", "lstm_ms", "linear_ms", "gated_ms"}
    assert row["gated_ms"] > 0


def test_a_step_of_one_fifth_more_just_meets_the_goal() -> None:
    found = ratios_of({"a": {"lstm_ms": 1.0, "gated_ms": 1.2}, "b": {"lstm_ms": 1.0, "gated_ms": 1.5}})
    assert found["mixture.step.a"].value == pytest.approx(1.0)
    assert found["mixture.step.b"].value == pytest.approx(0.8)
