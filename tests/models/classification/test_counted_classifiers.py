"""Logistic regression and Bayes' rule: the numbers of scikit-learn and of the formulas."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from models.classification.bayes import BayesClassifier
from models.classification.classifier import log_loss
from models.classification.figures import macro_f1
from models.neural.labelling.labelled_sequences import LabelledSequences, Sequences
from models.neural.labelling.rows import Rows
from models.ngram.lm import NGramLM
from tests.models.classification.made_reviews import LABELS, TELLING, small, texts
from training.classification.bayes import fitted_temperature
from training.classification.fitting import fit_classifier
from training.context import FitContext


@pytest.mark.parametrize("labels", [2, 3])
def test_logistic_regression_is_scikit_learns_pipeline(labels, words, train, held_out, tmp_path):
    """All words are in the vocabulary, so features and fit are the same; the optimiser stops at a gradient of 1e-3."""
    spec = small("logistic", strengths=(3.0,), labels=("a", "b", "c")[:labels])
    data = [type(one)(one.sequences, np.minimum(one.targets, labels - 1)) for one in (train, held_out)]
    model = fit_classifier(spec, words, *data, FitContext(tmp_path)).model
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    regression = LogisticRegression(C=3.0, max_iter=1_000, tol=1e-3)
    regression.fit(vectorizer.fit_transform(texts(400, 1)[0]), data[0].targets)
    expected = regression.predict_proba(vectorizer.transform(texts(90, 2)[0]))
    np.testing.assert_allclose(model.probabilities(held_out.sequences), expected, atol=5e-3)


def documents_nats(model: NGramLM, ids) -> float:
    """−log p of one review, token by token through the interface of language models."""
    state, nats = model.start(1), 0.0
    for before, token in zip([1, 3, *ids], [3, *ids, 2], strict=True):
        logp, state = model.step(np.array([before]), state)
        nats -= 0.0 if token == 3 else float(logp[0, token])
    return nats


def test_bayes_is_prior_times_likelihood(words, train, held_out, tmp_path):
    model = fit_classifier(small("bayes"), words, train, held_out, FitContext(tmp_path)).model
    assert isinstance(model, BayesClassifier)
    reviews = words.encode_batch(["great tane", "awful plain rune", "lovely"])
    expected = [
        [math.log(share) - documents_nats(one, ids) for one, share in zip(model.models, model.prior_K, strict=True)]
        for ids in reviews
    ]
    found = model.scores(Rows.of(reviews))
    np.testing.assert_allclose(found * model.temperature, expected, rtol=1e-5)
    np.testing.assert_allclose(model.joint(Rows.of(reviews)), expected, rtol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_the_temperature_has_the_lowest_log_loss(seed):
    draw = np.random.default_rng(seed)
    targets = draw.integers(0, 3, 200)
    joint = draw.normal(0, 30, (200, 3))
    joint[np.arange(200), targets] += 40
    best = fitted_temperature(joint, targets)
    assert best > 1
    losses = [log_loss(joint / temperature, targets) for temperature in (best * 0.99, best, best * 1.01)]
    assert losses[1] == min(losses)
    grid = min(log_loss(joint / temperature, targets) for temperature in np.geomspace(best / 5, best * 5, 400))
    assert losses[1] <= grid + 1e-12


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_macro_f1_is_scikit_learns_over_the_labels_that_are_the_truth_of_a_review(pairs):
    truth, answers = (np.array(column) for column in zip(*pairs, strict=True))
    expected = f1_score(truth, answers, labels=np.unique(truth), average="macro", zero_division=0.0)
    assert macro_f1(truth, answers, 5) == pytest.approx(expected, abs=1e-12)


def test_the_strongest_features_of_a_label_are_the_words_that_tell_it(words, train, held_out, tmp_path):
    made, _ = texts(400, 1)
    rows = Sequences(train.sequences.ids_P, train.sequences.offsets, written=pl.Series(made))
    spec = small("logistic", orders=(1,), lexicons=("joy",), patterns={"great": "great|awful"})
    context = FitContext(tmp_path, lexicons={"joy": {"great": 1.0, "lovely": 1.0}})
    validation = LabelledSequences(replace(held_out.sequences, written=pl.Series(texts(90, 2)[0])), held_out.targets)
    model = fit_classifier(spec, words, LabelledSequences(rows, train.targets), validation, context).model
    found = {(one.label, one.block): [] for one in model.strongest(words, 2)}
    for one in model.strongest(words, 2):
        found[one.label, one.block].append(one.feature)
    assert [set(found[label, "n-grams"]) for label in LABELS] == [set(pair) for pair in TELLING]
    assert found["5", "counts"][0] == "lexicon joy"
    assert len(found) == 6
    weights = {(one.label, one.feature): one.weight for one in model.strongest(words, 10_000)}
    sums = [sum(weights[label, feature] for label in LABELS) for _, feature in weights]
    np.testing.assert_allclose(sums, 0, atol=1e-12)
