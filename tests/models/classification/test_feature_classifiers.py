"""Classifiers of tf-idf features: the numbers of scikit-learn and of the formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from reviewlm.models.base import ModelError
from reviewlm.models.classification.classifier import softmax
from reviewlm.models.classification.features import ngrams
from reviewlm.models.classification.spec import LogisticSpec
from reviewlm.models.neural.labelling.rows import Rows
from reviewlm.training.context import FitContext
from reviewlm.training.labelling.examples import log_loss, macro_f1
from reviewlm.training.labelling.features import (
    SOLVER_TOLERANCE,
    fitted_temperature,
    learn_features,
)
from reviewlm.training.labelling.fitting import fit_classifier
from tests.models.classification.made_reviews import small, texts

V = 30
reviews = st.lists(st.lists(st.integers(9, V - 1), max_size=12), min_size=1, max_size=12)


def spec(**options):
    return LogisticSpec(**{"min_reviews": 1, **options})


def dense(features, rows):
    return csr_matrix(
        (rows.values_M, rows.ids_M, rows.offsets), (len(rows.offsets) - 1, len(features))
    ).toarray()


def names(features):
    """The n-gram of each feature, as scikit-learn writes it."""
    found = []
    for order, keys in zip(features.orders, features.keys, strict=True):
        for key in keys.tolist():
            ids = [key // V**place % V for place in reversed(range(order))]
            found.append(" ".join(map(str, ids)))
    return found


def scikit_learn(
    options,
    train,
    other,
):
    vectorizer = TfidfVectorizer(
        ngram_range=(options.orders[0], options.orders[-1]),
        min_df=options.min_reviews,
        sublinear_tf=options.sublinear,
        token_pattern=r"\S+",
        lowercase=False,
    )
    vectorizer.fit([" ".join(map(str, text)) for text in train])
    matrix = vectorizer.transform([" ".join(map(str, text)) for text in other])
    return vectorizer.get_feature_names_out().tolist(), matrix.toarray()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sublinear": False},
        {"orders": (1,)},
        {"orders": (2, 3)},
        {"min_reviews": 3},
        {"orders": (1, 2, 3, 4)},
    ],
)
def test_values_are_those_of_scikit_learn(options):
    draw = np.random.default_rng(1)
    train, other = (
        [draw.integers(9, V, draw.integers(0, 40)) for _ in range(60)] for _ in range(2)
    )
    features = learn_features(spec(**options), Rows.of(train), V)
    expected_names, expected = scikit_learn(spec(**options), train, other)
    assert sorted(names(features)) == sorted(expected_names)
    order = [expected_names.index(name) for name in names(features)]
    found = dense(features, features.transform(Rows.of(other)))
    np.testing.assert_allclose(found, expected[:, order], rtol=0, atol=1e-9)


@given(reviews, st.integers(1, 3))
def test_ngrams_are_those_within_each_review(texts, order):
    expected = [
        (
            sum(
                word * V ** (order - 1 - place)
                for place, word in enumerate(text[first : first + order])
            ),
            row,
        )
        for row, text in enumerate(texts)
        for first in range(len(text) - order + 1)
    ]
    keys, rows = ngrams(Rows.of(texts), order, V)
    assert list(zip(keys.tolist(), rows.tolist(), strict=True)) == expected


def test_unknown_words_are_no_features():
    features = learn_features(spec(), Rows.of([[9, 0, 9], [8, 9]]), V)  # 0 is <unk>
    assert names(features) == ["8", "9", "8 9"]


def test_reviews_that_leave_no_feature_are_refused():
    with pytest.raises(
        ModelError, match=r"no n-gram of the orders \(1, 2\) is in 3 training reviews: lower"
    ):
        learn_features(spec(min_reviews=3), Rows.of([[9], [9]]), V)


def test_orders_that_are_too_long_for_the_vocabulary_are_refused():
    with pytest.raises(ModelError, match="a vocabulary of 100,000 entries allows at most 3"):
        learn_features(spec(orders=(4,)), Rows.of([[9], [9]]), 100_000)


@pytest.mark.parametrize("labels", [2, 3])
def test_logistic_regression_is_scikit_learns_pipeline(
    labels,
    words,
    train,
    held_out,
    tmp_path,
    monkeypatch,
):
    """All words are in the vocabulary, so the features are the same; another solver has the same minimum."""
    monkeypatch.setattr("reviewlm.training.labelling.features.SOLVER_TOLERANCE", 1e-6)
    spec = small("logistic", strengths=(3.0,), labels=("a", "b", "c")[:labels])
    data = [
        type(one)(one.sequences, np.minimum(one.targets, labels - 1)) for one in (train, held_out)
    ]
    model = fit_classifier(spec, words, *data, FitContext(tmp_path)).model
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    regression = LogisticRegression(
        C=3.0,
        max_iter=1_000,
        tol=1e-7,
    )
    regression.fit(vectorizer.fit_transform(texts(400, 1)[0]), data[0].targets)
    expected = regression.predict_proba(vectorizer.transform(texts(90, 2)[0]))
    np.testing.assert_allclose(softmax(model.scores(held_out.sequences)), expected, atol=2e-4)


def test_the_solver_as_shipped_is_nearly_as_good_on_held_out_reviews(
    words,
    train,
    held_out,
    tmp_path,
    monkeypatch,
):
    def loss(limit):
        monkeypatch.setattr("reviewlm.training.labelling.features.SOLVER_TOLERANCE", limit)
        folder = tmp_path / str(limit)
        folder.mkdir()
        model = fit_classifier(
            small("logistic", strengths=(3.0,)),
            words,
            train,
            held_out,
            FitContext(folder),
        ).model
        p_NK = softmax(model.scores(held_out.sequences))
        return -np.log(p_NK[np.arange(len(held_out.targets)), held_out.targets]).mean()

    assert loss(SOLVER_TOLERANCE) < loss(1e-6) + 0.01


def test_bayes_is_the_unlikelihood_of_the_other_labels(
    words,
    train,
    held_out,
    tmp_path,
):
    """Up to the temperature: −Σ value · log p(feature | other labels), from the sums of values of the others."""
    spec = small("bayes", strengths=(0.5,))
    model = fit_classifier(
        spec,
        words,
        train,
        held_out,
        FitContext(tmp_path),
    ).model
    made = Rows.of(words.encode_batch(texts(400, 1)[0]))
    x = dense(model.features, model.features.transform(made)).astype(np.float32)
    sums = np.stack([x[train.targets != label].sum(0) for label in range(3)]) + 0.5
    likelihood = np.log(sums / sums.sum(1, keepdims=True))
    reviews = Rows.of(words.encode_batch(["great tane", "awful plain rune", "lovely"]))
    expected = -dense(model.features, model.features.transform(reviews)) @ likelihood.T
    found = model.scores(reviews)
    temperature = expected[0, 0] / found[0, 0]
    assert temperature > 0
    np.testing.assert_allclose(found * temperature, expected, rtol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_the_temperature_has_the_lowest_log_loss(seed):
    draw = np.random.default_rng(seed)
    targets = draw.integers(0, 3, 200)
    joint = draw.normal(0, 30, (200, 3))
    joint[np.arange(200), targets] += 40
    best = fitted_temperature(joint, targets)
    assert best > 1
    losses = [
        log_loss(joint / temperature, targets) for temperature in (best * 0.99, best, best * 1.01)
    ]
    assert losses[1] <= min(losses) + 1e-9
    grid = min(
        log_loss(joint / temperature, targets)
        for temperature in np.geomspace(best / 5, best * 5, 400)
    )
    assert losses[1] <= grid + 1e-9


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_macro_f1_is_scikit_learns_over_the_labels_that_are_the_truth_of_a_review(pairs):
    truth, answers = (np.array(column) for column in zip(*pairs, strict=True))
    expected = f1_score(
        truth,
        answers,
        labels=np.unique(truth),
        average="macro",
        zero_division=0.0,
    )
    assert macro_f1(truth, answers, 5) == pytest.approx(expected, abs=1e-12)
