"""Kneser–Ney against the definition itself: dictionaries, sets and rational numbers, no arrays."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.models.ngram.lm import NGramLM
from reviewlm.models.tokens.special import CONTEXT_IDS
from reviewlm.training.ngram.counting.counts import count_ngrams
from reviewlm.training.ngram.fitting import packed_tables
from reviewlm.training.ngram.smoothing import kneser_ney
from reviewlm.training.ngram.smoothing.by_context import order_discounts
from tests.examples import examples

V = 14
FALLBACK = (Fraction(1, 2), Fraction(1), Fraction(3, 2))
SMOOTHINGS = ("modified_kneser_ney", "kneser_ney")
WORD = st.sampled_from([0, 9, 9, 9, 10, 10, 11, 12])
DOCUMENT = st.builds(
    lambda stars, words: [1, stars, *words, 2],
    st.sampled_from([3, 7, 8]),
    st.lists(WORD, max_size=7),
)
CORPUS = st.lists(DOCUMENT, max_size=12)


class Oracle:
    """Interpolated (modified) Kneser–Ney, textbook counts of counts, exact."""

    def __init__(
        self,
        documents: list[list[int]],
        order: int,
        smoothing: str,
    ) -> None:
        grams = [
            tuple(d[i : i + k])
            for d in documents
            for k in range(1, order + 2)
            for i in range(1, len(d) - k + 1)
        ]
        raw = Counter(gram for gram in grams if gram[-1] not in CONTEXT_IDS)
        before: dict[tuple, set] = {}
        for gram in raw:
            before.setdefault(gram[1:], set()).add(gram[0])
        self.order, self.adjusted, self.discount = order, {}, {}
        for gram, count in raw.items():
            if len(gram) <= order:
                whole = len(gram) == order or gram[0] in CONTEXT_IDS
                self.adjusted[gram] = count if whole else len(before.get(gram, ()))
        for k in range(1, order + 1):
            n = Counter(a for gram, a in self.adjusted.items() if len(gram) == k)
            self.discount[k] = self.discounts(n, smoothing)

    @staticmethod
    def discounts(n: Counter, smoothing: str) -> tuple[Fraction, ...]:
        if smoothing == "kneser_ney":
            y = Fraction(n[1], n[1] + 2 * n[2]) if n[1] and n[2] else FALLBACK[0]
            return (Fraction(0), y, y, y)
        if n[1] and n[2] and n[3]:
            y = Fraction(n[1], n[1] + 2 * n[2])
            found = tuple(j - (j + 1) * y * Fraction(n[j + 1], n[j]) for j in (1, 2, 3))
            if all(0 < value <= j for j, value in enumerate(found, start=1)):
                return (Fraction(0), *found)
        return (Fraction(0), *FALLBACK)

    def p(self, word: int, context: tuple[int, ...]) -> Fraction:
        """Return p(word | context), the context cut to what the model sees."""
        context = context[max(0, len(context) - self.order + 1) :]
        followers = {gram[-1]: a for gram, a in self.adjusted.items() if gram[:-1] == context}
        uniform = Fraction(0 if word in CONTEXT_IDS else 1, V - len(CONTEXT_IDS))
        lower = self.p(word, context[1:]) if context else uniform
        total = sum(followers.values())
        if total == 0:
            return lower
        taken = self.discount[len(context) + 1]
        gamma = sum((taken[min(a, 3)] for a in followers.values()), Fraction(0)) / total
        own = followers.get(word, 0)
        return (own - taken[min(own, 3)]) / total + gamma * lower


def packed(
    documents: list[list[int]],
    stream_of,
    order: int,
    smoothing: str,
) -> NGramLM:
    counts = count_ngrams(stream_of(documents), order, V, CONTEXT_IDS)
    made = kneser_ney.estimate(
        counts, smoothing, kenlm_exact=False, fallback=[float(d) for d in FALLBACK]
    )
    return NGramLM(packed_tables(counts, made))


def state_after(model: NGramLM, ids: list[int]):
    return model.score(np.array([ids]).reshape(1, -1), model.start(1))[1]


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@examples(60)
@given(
    documents=CORPUS,
    order=st.integers(1, 4),
    history=st.lists(WORD, max_size=5),
    begun=st.booleans(),
)
def test_every_next_token_probability_is_the_definition_s(
    documents,
    order,
    history,
    begun,
    smoothing,
    stream_of,
):
    model, oracle = (
        packed(documents, stream_of, order, smoothing),
        Oracle(documents, order, smoothing),
    )
    context = ([1, 8] if begun else []) + history
    distribution = np.exp(model.distribution(state_after(model, context)))[0]
    seen = tuple(context[1:]) if begun else tuple(context)
    assert distribution.tolist() == pytest.approx(
        [float(oracle.p(word, seen)) for word in range(V)], abs=1e-13
    )


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_a_corpus_that_determines_its_discounts_agrees_too(
    smoothing,
    stream_of,
    reviews_of,
):
    documents = [[min(token, V - 1) for token in document] for document in reviews_of(60, 40, 3)]
    model, oracle = packed(documents, stream_of, 3, smoothing), Oracle(documents, 3, smoothing)
    assert oracle.discount[3] != (0, *FALLBACK)
    for document in documents[:15]:
        nats, _ = model.score(np.array([document]), model.start(1))
        probabilities = [
            float(oracle.p(document[i], tuple(document[1:i]))) for i in range(2, len(document))
        ]
        assert np.exp(-nats[0, 2:]).tolist() == pytest.approx(probabilities, rel=1e-12)


def test_discounts_follow_equation_26_of_chen_1999():
    # n1 = 100, n2 = 40, n3 = 20, n4 = 10: Y = 100 / 180
    y = 100 / 180
    found = order_discounts((100, 40, 20, 10), "modified_kneser_ney")
    assert found.values == pytest.approx((0, 1 - 2 * y * 0.4, 2 - 3 * y * 0.5, 3 - 4 * y * 0.5))
    assert order_discounts((100, 40, 20, 10), "kneser_ney").values == pytest.approx((0, y, y, y))
    assert not found.fallback
