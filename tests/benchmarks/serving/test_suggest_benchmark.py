"""The benchmark of suggestions: each letter is one call of the engine, with its waiting and its processor time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks.suggest import KeyPress, figures, key_presses
from models.bundles.bundle import Bundle
from models.ngram.counting.counts import count_ngrams
from models.ngram.lm import NGramLM
from models.specs import NGramSpec, VocabularySpec
from models.text.normal_form import NormalForm
from models.tokens.vocabulary import CONTEXT_IDS, Vocabulary
from serving.engine.engine import Engine

TEXTS = ["the soup was great", "the salad was good", "we liked the soup"] * 3


@pytest.mark.parametrize(("stars", "pause_ms"), [(5, 0.0), (None, 0.0), (5, 1.0)])
def test_every_letter_is_a_key_press_and_costs_processor_time(
    stars: int | None, pause_ms: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = list[str]()

    def noted(_: Bundle, prompt: str, *rest: object) -> Iterator[None]:
        ahead.append(prompt)
        yield

    monkeypatch.setattr("benchmarks.suggest.ahead_steps", noted)
    vocabulary = Vocabulary.train(TEXTS, VocabularySpec(unit="bpe", size=300, min_count=1), NormalForm())
    counts = count_ngrams(vocabulary.encode_documents(TEXTS, [5, 4, 3] * 3), 3, vocabulary.size, CONTEXT_IDS)
    engine = Engine(Bundle(NGramSpec(order=3), vocabulary, NGramLM.from_counts(counts)))
    try:
        presses = key_presses(engine, "the soup", stars, pause_ms)
    finally:
        engine.close()
    assert len(presses) == len("the soup")
    assert bool(ahead) == bool(pause_ms), "without a pause nothing is read ahead"
    assert all(press.cpu_ms > 0 and press.wall_ms > 0 for press in presses)


def test_figures_are_percentiles_of_both_times() -> None:
    presses = [KeyPress(float(number), number / 2) for number in np.random.default_rng(1).permutation(101)]
    assert figures(presses) == {
        "p50 ms": 50.0, "p95 ms": 95.0, "p50 cpu_ms": 25.0, "p95 cpu_ms": 47.5, "key presses": 101,
    }  # fmt: skip
