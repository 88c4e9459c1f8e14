"""Counting: equal to collections.Counter, and nothing counted twice, across documents, or ending in a given token."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.models.base import ModelError
from reviewlm.models.tokens.special import CONTEXT_IDS
from reviewlm.training.ngram.counting.counts import count_ngrams, unseen_share
from tests.estimated_ngrams import ngrams_of
from tests.examples import examples

V = 16
WORD = st.sampled_from([0, 9, 9, 10, 11, 15])
DOCUMENT = st.builds(
    lambda stars, words: [1, stars, *words, 2], st.integers(3, 8), st.lists(WORD, max_size=9)
)
CORPUS = st.lists(DOCUMENT, max_size=15)


def windows(documents: list[list[int]], order: int) -> Counter:
    """Every window of a document after <bos>; at order 1 without the begin token, which is not predicted."""
    found = (tuple(d[i : i + order]) for d in documents for i in range(1, len(d) - order + 1))
    return Counter(gram for gram in found if gram[-1] not in CONTEXT_IDS)


@examples(60)
@given(documents=CORPUS, order=st.integers(1, 5))
def test_counts_equal_a_counter_of_windows(
    documents,
    order,
    stream_of,
):
    counts = count_ngrams(stream_of(documents), order, V, CONTEXT_IDS)
    for k in range(1, order + 1):
        rows = zip(ngrams_of(counts)[k - 1], counts.orders[k - 1].raw_M.tolist(), strict=True)
        assert {gram: count for gram, count in rows if count} == windows(documents, k)


@examples(60)
@given(
    documents=CORPUS,
    order=st.integers(1, 5),
    least=st.integers(2, 4),
)
def test_ngrams_of_enough_documents_are_those_that_a_set_of_windows_per_document_finds(
    documents,
    order,
    least,
    stream_of,
):
    counts = count_ngrams(
        stream_of(documents),
        order,
        V,
        CONTEXT_IDS,
        min_documents=least,
    )
    assert counts.orders[0].widespread_M is None
    for k in range(2, order + 1):
        frequency = Counter(gram for document in documents for gram in windows([document], k))
        words, widespread_M = ngrams_of(counts)[k - 1], counts.orders[k - 1].widespread_M
        assert {gram for gram, enough in zip(words, widespread_M, strict=True) if enough} == {
            gram for gram, number in frequency.items() if number >= least
        }
        assert (
            counts.orders[k - 1].raw_M.tolist()
            == count_ngrams(stream_of(documents), order, V, CONTEXT_IDS)
            .orders[k - 1]
            .raw_M.tolist()
        )


@examples(60)
@given(
    written=st.lists(st.tuples(DOCUMENT, st.integers(0, 3)), max_size=15),
    order=st.integers(1, 4),
    least=st.integers(2, 4),
)
def test_with_known_authors_an_ngram_needs_enough_people_however_often_each_wrote_it(
    written,
    order,
    least,
    stream_of,
):
    documents = [document for document, _ in written]
    authors_D = np.array([author for _, author in written], np.int32)
    counts = count_ngrams(
        stream_of(documents),
        order,
        V,
        CONTEXT_IDS,
        min_documents=least,
        authors_D=authors_D,
    )
    for k in range(2, order + 1):
        people: dict[tuple[int, ...], set[int]] = {}
        for document, author in written:
            for gram in windows([document], k):
                people.setdefault(gram, set()).add(author)
        words, widespread_M = ngrams_of(counts)[k - 1], counts.orders[k - 1].widespread_M
        found = {gram for gram, enough in zip(words, widespread_M, strict=True) if enough}
        assert found == {gram for gram, authors in people.items() if len(authors) >= least}


def test_the_share_of_unseen_ngrams_is_that_of_a_set_of_ngrams(stream_of, reviews_of):
    train, held_out = reviews_of(80, V, 1), reviews_of(30, V, 2)
    shares = unseen_share(count_ngrams(stream_of(train), 4, V, CONTEXT_IDS), stream_of(held_out))
    tokens = [(d[1:i], d[i]) for d in held_out for i in range(2, len(d))]
    for k in range(1, 5):
        seen = {j: windows(train, j) for j in range(1, k + 1)}
        grams = [(*history[max(0, len(history) - k + 1) :], token) for history, token in tokens]
        grams = [gram[-k:] for gram in grams]
        unseen = sum(gram not in seen[len(gram)] for gram in grams)
        assert shares[k] == pytest.approx(unseen / len(tokens))


def test_the_share_of_unseen_ngrams_rises_with_the_order(stream_of, reviews_of):
    train, held_out = stream_of(reviews_of(80, V, 1)), stream_of(reviews_of(30, V, 2))
    shares = unseen_share(count_ngrams(train, 4, V, CONTEXT_IDS), held_out)
    assert shares[1] < shares[2] < shares[3] < shares[4]


@pytest.mark.parametrize(
    ("documents", "order", "message"),
    [
        ([[1, 3, 9, 2]], 0, "order"),
        ([[1, 3, 9, 2]], 256, "order"),
        ([[1, 3, V, 2]], 2, "vocabulary"),
        ([[1, 3, 9, 2], [9, 2]], 2, "begin"),
    ],
)
def test_input_that_cannot_be_counted_is_refused_with_a_reason(
    documents,
    order,
    message,
    stream_of,
):
    with pytest.raises(ModelError, match=message) as caught:
        count_ngrams(stream_of(documents), order, V, CONTEXT_IDS)
    assert caught.value.kind == "input"
