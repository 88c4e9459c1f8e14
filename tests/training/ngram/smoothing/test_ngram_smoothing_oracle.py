"""Every classical smoothing method against its definition: dictionaries and rational numbers, no arrays."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.models.ngram.lm import NGramLM
from reviewlm.models.specs import SCORES_ONLY
from reviewlm.models.tokens.special import CONTEXT_IDS
from reviewlm.training.ngram.counting.counts import count_ngrams
from reviewlm.training.ngram.fitting import packed_tables
from reviewlm.training.ngram.smoothing import add_k, closed_form, jelinek_mercer, katz
from tests.examples import examples

V = 14
WORDS = V - len(CONTEXT_IDS)
HALF = Fraction(1, 2)
WEIGHTS = [Fraction(99, 100), Fraction(4, 5), Fraction(1, 2), Fraction(1, 4)]
WORD = st.sampled_from([0, 9, 9, 9, 9, 10, 10, 11, 12])
DOCUMENT = st.builds(
    lambda stars, words: [1, stars, *words, 2],
    st.sampled_from([3, 7, 8]),
    st.lists(WORD, max_size=9),
)
CORPUS = st.lists(DOCUMENT, max_size=14)


class Oracle:
    """p(w | h) as a recursion over contexts; subclasses say what is made of one context's counts."""

    def __init__(self, documents: list[list[int]], order: int) -> None:
        grams = (
            tuple(d[i : i + k])
            for d in documents
            for k in range(1, order + 1)
            for i in range(1, len(d) - k + 1)
        )
        self.order, self.count = (
            order,
            Counter(gram for gram in grams if gram[-1] not in CONTEXT_IDS),
        )

    def p(self, word: int, context: tuple[int, ...]) -> Fraction:
        context = context[max(0, len(context) - self.order + 1) :]
        followers = {gram[-1]: c for gram, c in self.count.items() if gram[:-1] == context}
        if not followers:
            return self.shorter(word, context)
        return self.known(word, context, followers, Fraction(sum(followers.values())))

    def shorter(self, word: int, context: tuple[int, ...]) -> Fraction:
        return (
            self.p(word, context[1:])
            if context
            else Fraction(0 if word in CONTEXT_IDS else 1, WORDS)
        )

    def n(self, order: int, r: int) -> int:
        return sum(c == r for gram, c in self.count.items() if len(gram) == order)

    def discount(self, order: int) -> Fraction:
        n1, n2 = self.n(order, 1), self.n(order, 2)
        return Fraction(n1, n1 + 2 * n2) if n1 and n2 else HALF


class MaximumLikelihood(Oracle):
    def known(
        self,
        word,
        context,
        followers,
        total,
    ):
        return followers.get(word, 0) / total


class WittenBell(Oracle):
    def known(
        self,
        word,
        context,
        followers,
        total,
    ):
        different = len(followers)
        return (followers.get(word, 0) + different * self.shorter(word, context)) / (
            total + different
        )


class AbsoluteDiscounting(Oracle):
    def known(
        self,
        word,
        context,
        followers,
        total,
    ):
        d = self.discount(len(context) + 1)
        kept = max(followers.get(word, 0) - d, Fraction(0))
        return kept / total + d * len(followers) / total * self.shorter(word, context)


class JelinekMercer(Oracle):
    def known(
        self,
        word,
        context,
        followers,
        total,
    ):
        weight = WEIGHTS[len(context)]
        return weight * followers.get(word, 0) / total + (1 - weight) * self.shorter(word, context)


class AddK(Oracle):
    """Windows are padded to N − 1 tokens with their begin token, as texts on the subject do."""

    def __init__(self, documents, order):
        super().__init__([[1, *[d[1]] * max(order - 1, 1), *d[2:]] for d in documents], order)

    def p(self, word, context):
        if context and context[0] in CONTEXT_IDS:
            context = (context[0],) * self.order + context
        window = (
            context[len(context) - self.order + 1 :] if len(context) >= self.order - 1 else None
        )
        followers = {gram[-1]: c for gram, c in self.count.items() if gram[:-1] == window}
        return (
            0
            if word in CONTEXT_IDS
            else (followers.get(word, 0) + HALF) / (sum(followers.values()) + HALF * WORDS)
        )


class StupidBackoff(Oracle):
    def known(
        self,
        word,
        context,
        followers,
        total,
    ):
        if word in followers or not context:
            return followers.get(word, 0) / total
        return Fraction(2, 5) * self.shorter(word, context)


class Katz(Oracle):
    CUT = 2

    def ratios(self, order):
        n = {r: self.n(order, r) for r in range(1, self.CUT + 2)}
        if all(n[r] for r in range(1, self.CUT + 1)) and n[1] > (self.CUT + 1) * n[self.CUT + 1]:
            a = Fraction((self.CUT + 1) * n[self.CUT + 1], n[1])
            found = {
                r: (Fraction((r + 1) * n[r + 1], n[r] * r) - a) / (1 - a)
                for r in range(1, self.CUT + 1)
            }
            if all(0 < d <= 1 for d in found.values()):
                return lambda r: found.get(r, Fraction(1))
        return lambda r: max(r - self.discount(order), Fraction(0)) / r

    def known(
        self,
        word,
        context,
        followers,
        total,
    ):
        d = self.ratios(len(context) + 1)
        left = 1 - sum(self.shorter(w, context) for w in followers)
        taken, events = sum((1 - d(c)) * c for c in followers.values()), total
        if taken == 0 and left > 0:
            taken, events = Fraction(1), total + 1
        if taken / events >= 100 * left:
            return (
                followers[word] / total * (1 - left)
                if word in followers
                else self.shorter(word, context)
            )
        if word in followers:
            return d(followers[word]) * followers[word] / events
        return taken / events / left * self.shorter(word, context)


METHODS = {
    "maximum_likelihood": (MaximumLikelihood, closed_form.estimate_maximum_likelihood),
    "add_k": (AddK, lambda counts: add_k.estimate_add_k(counts, 0.5)),
    "jelinek_mercer": (
        JelinekMercer,
        lambda counts: jelinek_mercer.estimate_jelinek_mercer(counts, WEIGHTS[: counts.order]),
    ),
    "witten_bell": (WittenBell, closed_form.estimate_witten_bell),
    "absolute_discounting": (AbsoluteDiscounting, closed_form.estimate_absolute),
    "katz": (Katz, lambda counts: katz.estimate(counts, cut=2)),
    "stupid_backoff": (StupidBackoff, closed_form.estimate_stupid_backoff),
}


def next_after(
    documents,
    context,
    method,
    order,
    stream_of,
) -> np.ndarray:
    counts = count_ngrams(stream_of(documents), order, V, CONTEXT_IDS)
    model = NGramLM(packed_tables(counts, METHODS[method][1](counts)), method not in SCORES_ONLY)
    state = model.read(np.array(context, np.int64)[None], model.start(1))
    return np.exp(model._next(state, np.float64))[0]


@pytest.mark.parametrize("method", list(METHODS))
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
    method,
    stream_of,
):
    context = ([1, 8] if begun else []) + history
    oracle, seen = (
        METHODS[method][0](documents, order),
        tuple(context[1:]) if begun else tuple(context),
    )
    expected = [float(oracle.p(word, seen)) for word in range(V)]
    assert next_after(
        documents,
        context,
        method,
        order,
        stream_of,
    ).tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("method", list(METHODS))
def test_a_larger_corpus_agrees_too(
    method,
    stream_of,
    reviews_of,
):
    documents = [[min(token, V - 1) for token in document] for document in reviews_of(60, 40, 3)]
    oracle = METHODS[method][0](documents, 3)
    if method == "katz":  # Good–Turing itself, at an order at least
        assert oracle.ratios(3)(3) == 1
    for document in documents[:6]:
        for end in range(2, len(document)):
            found = next_after(
                documents,
                document[:end],
                method,
                3,
                stream_of,
            )[document[end]]
            assert found == pytest.approx(
                float(oracle.p(document[end], tuple(document[1:end]))), rel=1e-12
            )
