"""Tf-idf features: the same numbers as scikit-learn's, from integer keys."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from models.base import ModelError
from models.classification.features import tfidf
from models.classification.features.tfidf import TfidfFeatures, count_pairs
from models.classification.spec import LogisticSpec
from models.neural.labelling.rows import Rows

V = 30
reviews = st.lists(st.lists(st.integers(9, V - 1), max_size=12), min_size=1, max_size=12)


def spec(**options):
    return LogisticSpec(**{"min_reviews": 1, **options})


def dense(features, rows):
    found = np.zeros((len(rows), len(features)))
    for number, (first, last) in enumerate(zip(rows.offsets, rows.offsets[1:], strict=False)):
        found[number, rows.ids_P[first:last]] = rows.values_P[first:last]
    return found


def names(features):
    """The n-gram of each feature, as scikit-learn writes it."""
    found = []
    for order, keys in zip(features.orders, features.keys, strict=True):
        for key in keys.tolist():
            ids = [key // V**place % V for place in reversed(range(order))]
            found.append(" ".join(map(str, ids)))
    return found


def scikit_learn(options, train, other):
    vectorizer = TfidfVectorizer(
        ngram_range=(options.orders[0], options.orders[-1]), min_df=options.min_reviews,
        sublinear_tf=options.sublinear, token_pattern=r"\S+", lowercase=False,
    )  # fmt: skip
    vectorizer.fit([" ".join(map(str, text)) for text in train])
    matrix = vectorizer.transform([" ".join(map(str, text)) for text in other])
    return vectorizer.get_feature_names_out().tolist(), matrix.toarray()


@pytest.mark.parametrize("options", [
    {}, {"sublinear": False}, {"orders": (1,)}, {"orders": (2, 3)}, {"min_reviews": 3}, {"orders": (1, 2, 3, 4)},
])  # fmt: skip
def test_values_are_those_of_scikit_learn(options):
    draw = np.random.default_rng(1)
    train, other = ([draw.integers(9, V, draw.integers(0, 40)) for _ in range(60)] for _ in range(2))
    features = TfidfFeatures.learn(spec(**options), Rows.of(train), V)
    expected_names, expected = scikit_learn(spec(**options), train, other)
    assert sorted(names(features)) == sorted(expected_names)
    order = [expected_names.index(name) for name in names(features)]
    found = dense(features, features.transform(Rows.of(other)))
    np.testing.assert_allclose(found, expected[:, order], rtol=0, atol=1e-9)


@given(reviews, st.integers(1, 3))
def test_counts_are_those_of_a_dictionary(texts, order):
    expected = Counter(
        (sum(word * V ** (order - 1 - place) for place, word in enumerate(text[first : first + order])), row)
        for row, text in enumerate(texts) for first in range(len(text) - order + 1)
    )  # fmt: skip
    found = count_pairs(Rows.of(texts), order, V)
    pairs = list(zip(found.keys_M.tolist(), found.rows_M.tolist(), strict=True))
    assert dict(zip(pairs, found.counts_M.tolist(), strict=True)) == expected
    assert pairs == sorted(pairs)


@given(reviews, st.integers(1, 5))
def test_the_size_of_the_blocks_changes_nothing(texts, tokens):
    whole = TfidfFeatures.learn(spec(orders=(1, 2)), rows, V) if (rows := Rows.of([*texts, [9, 10]])) else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tfidf, "BLOCK_TOKENS", tokens)
        patch.setattr(tfidf, "BLOCK_REVIEWS", 2)
        parts = TfidfFeatures.learn(spec(orders=(1, 2)), rows, V)
        assert names(parts) == names(whole)
        assert np.array_equal(parts.idf_F, whole.idf_F)
        np.testing.assert_array_equal(dense(whole, parts.transform(rows)), dense(whole, whole.transform(rows)))


def test_the_most_frequent_features_are_kept_and_of_equals_the_shorter():
    """9 occurs four times, 10 twice, `9 9` twice, the others once."""
    texts = Rows.of([[9, 9, 9], [9, 9, 9, 10], [10, 11]])
    kept = TfidfFeatures.learn(spec(features=3), texts, V)
    assert names(kept) == ["9", "10", "9 9"]
    assert names(TfidfFeatures.learn(spec(features=2), texts, V)) == ["9", "9 9"]


def test_no_feature_and_too_long_orders_are_refused():
    with pytest.raises(ModelError, match=r"no n-gram of the orders \(1, 2\) is in 3 training reviews: lower"):
        TfidfFeatures.learn(spec(min_reviews=3), Rows.of([[9], [9]]), V)
    with pytest.raises(ModelError, match="a vocabulary of 100,000 entries allows at most 3"):
        TfidfFeatures.learn(spec(orders=(4,)), Rows.of([[9], [9]]), 100_000)
