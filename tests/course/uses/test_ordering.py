"""Words put in order: the likeliest order, and BLEU by its definition."""

from __future__ import annotations

from itertools import permutations
from math import exp

import numpy as np
import pytest

from reviewlm.course.uses.ordering import bleu, order_words
from tests.serving.engine.small_models import bundle_of


@pytest.mark.parametrize("kind", ["ngram", "lstm"])
def test_a_wide_beam_finds_the_likeliest_order(kind: str) -> None:
    bundle = bundle_of(kind)
    words = ["was", "cold", "the", "soup"]
    made = order_words(bundle, words, width=24)
    assert sorted(made) == sorted(words)

    def log_p(order: tuple[str, ...]) -> float:
        """That of the words, and of a full stop or the end of the text after them."""
        nats = [
            [-nat for _, nat in bundle.score_text(" ".join(order) + end, 0).per_token]
            for end in ("", ".")
        ]
        return sum(nats[0][:4]) + float(np.logaddexp(nats[0][4], nats[1][4]))

    assert log_p(tuple(made)) == pytest.approx(max(map(log_p, permutations(words))), abs=1e-4)
    assert made == order_words(bundle, sorted(words), width=24), "whatever order they come in"


def test_a_word_that_comes_twice_is_used_twice() -> None:
    found = order_words(bundle_of("ngram"), ["the", "soup", "the", "staff"], 5)
    assert sorted(found) == ["soup", "staff", "the", "the"]


def test_an_unknown_word_is_refused() -> None:
    with pytest.raises(ValueError, match="zeppelin"):
        order_words(bundle_of("ngram"), ["zeppelin", "soup"], 5)


def test_bleu_is_the_geometric_mean_of_clipped_precisions_with_a_brevity_penalty() -> None:
    right = ["the", "cat", "sat", "on", "the", "mat"]
    assert bleu([right], [right]) == 1
    assert bleu([right], [right[::-1]]) == 0, "no four words in order"
    made = [*right[:5], "the", "the"]  # matches 5 of 7, 4 of 6, 3 of 5, 2 of 4
    assert bleu([right], [made]) == pytest.approx((5 / 7 * 4 / 6 * 3 / 5 * 2 / 4) ** 0.25)
    short = right[:5]
    assert bleu([right], [short]) == pytest.approx(exp(1 - 6 / 5))
