"""Fit classifiers of tf-idf features (logistic, bayes, tfidf) by scikit-learn; choose the strength on validation."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from reviewlm.models.base import ModelError
from reviewlm.models.classification.classifier import text_rows
from reviewlm.models.classification.features import FeatureClassifier, TfidfFeatures, ngrams
from reviewlm.models.classification.spec import BayesSpec, FeatureSpec, TfidfSpec
from reviewlm.models.neural.labelling.rows import Rows
from reviewlm.models.tokens.special import UNK
from reviewlm.training.context import FitContext, ModelFit, journal
from reviewlm.training.labelling.examples import log_loss, macro_f1, prior

if TYPE_CHECKING:
    from reviewlm.models.tokens.vocabulary import Vocabulary
    from reviewlm.training.labelling.examples import LabelledSequences

KEYS = 1 << 63
"""Keys of n-grams are below this."""
Layers = list[tuple[np.ndarray, np.ndarray]]
MOST_ITERATIONS = 1_000
"""Most iterations of the solver of the logistic regression."""
SOLVER_TOLERANCE = 1e-2
"""The solver of the logistic regression stops where no weight changes by more than this share of the largest one. On
8,000 reviews and 106,000 features it takes a quarter of the time of L-BFGS at a gradient of 1e-3, and is as good."""


def fit_on_features(
    spec: FeatureSpec,
    vocabulary: Vocabulary,
    train: LabelledSequences,
    validation: LabelledSequences,
    context: FitContext,
) -> ModelFit[FeatureClassifier]:
    """Fit one candidate for each strength; keep the one with the lowest loss, or the highest macro-F1, on validation.

    A strength is C of a logistic regression, alpha of naive Bayes, the learning rate of a network on tf-idf.
    """
    from scipy.sparse import csr_matrix

    began = time.perf_counter()
    labels = len(spec.labels)
    texts = text_rows(train.sequences)
    features = learn_features(spec, texts, vocabulary.size)
    x = features.transform(texts)
    validation_x = features.transform(text_rows(validation.sequences))
    matrix = csr_matrix(
        (x.values_M.astype(np.float32), x.ids_M, x.offsets), (len(texts), len(features))
    )
    shares_K = prior(train.targets, labels)
    ranked = []
    figures: dict[str, float] = {}
    for name, strength, layers in _fits(spec, matrix, train.targets):
        model = FeatureClassifier(spec, features, layers, shares_K)
        scores_NK = model.scores_of_features(validation_x)
        if isinstance(spec, BayesSpec):
            temperature = fitted_temperature(scores_NK, validation.targets)
            scores_NK = scores_NK / temperature
            [(weight_KF, bias_K)] = layers
            model = FeatureClassifier(spec, features, [(weight_KF / temperature, bias_K)], shares_K)

        loss = log_loss(scores_NK, validation.targets)
        f1 = macro_f1(validation.targets, scores_NK.argmax(1), labels)
        figures |= {f"{name}/log_loss": loss, f"{name}/macro_f1": f1}
        ranked.append((-f1 if spec.choose_by == "macro_f1" else loss, strength, model))
        if spec.kind == "logistic" and ranked[-1][0] > min(rank for rank, *_ in ranked):
            break  # a stronger fit to the training reviews is no better, and takes longest

    _, strength, model = min(ranked, key=lambda fit: fit[0])
    journal(context, len(train.sequences.ids_P), {**figures, "strength": strength})
    parameters = sum(weight.size + bias.size for weight, bias in model.layers)
    summary = {
        "parameters": float(parameters),
        "features": float(len(features)),
        "strength": strength,
        "seconds": time.perf_counter() - began,
    }
    return ModelFit(model, summary)


def learn_features(
    spec: FeatureSpec,
    texts: Rows,
    entries: int,
) -> TfidfFeatures:
    """Return the features of training reviews: the most frequent n-grams of known words that are in enough reviews.

    With the entry of unknown words as a feature, gibberish had a sure answer. Of equally frequent n-grams the shorter
    come first, then the lower keys.

    Args:
        texts: Reviews without special tokens.
        entries: V.

    Raises:
        ModelError: kind "input": no n-gram is in enough reviews, or the orders are too long for the vocabulary.
    """
    longest = max(order for order in range(1, 64) if entries**order < KEYS)
    if spec.orders[-1] > longest:
        what = f"orders are {spec.orders}; a vocabulary of {entries:,} entries allows at most {longest}"
        raise ModelError(what, "input")

    keys = []
    frequency = []
    totals = []
    for order in spec.orders:
        keys_P, rows_P = ngrams(texts, order, entries)
        known_P = np.all(
            [keys_P // entries**place % entries != UNK for place in range(order)], axis=0
        )
        keys_P = keys_P[known_P]
        rows_P = rows_P[known_P]
        order_P = np.argsort(keys_P, kind="stable")  # so the reviews of a key ascend
        keys_P = keys_P[order_P]
        rows_P = rows_P[order_P]
        new_P = np.diff(keys_P, prepend=-1) != 0
        first_U = np.flatnonzero(new_P)
        first_in_review_P = new_P | (np.diff(rows_P, prepend=-1) != 0)
        reviews_U = np.bincount(np.cumsum(new_P) - 1, first_in_review_P).astype(np.int64)
        enough_U = reviews_U >= spec.min_reviews
        keys.append(keys_P[first_U[enough_U]])
        frequency.append(reviews_U[enough_U])
        totals.append(np.diff(first_U, append=len(keys_P))[enough_U])

    total = np.concatenate(totals)
    if not len(total):
        what = f"no n-gram of the orders {spec.orders} is in {spec.min_reviews} training reviews"
        raise ModelError(f"{what}: lower min_reviews, or train on more reviews", "input")

    chosen = np.zeros(len(total), bool)
    chosen[np.argsort(-total, kind="stable")[: spec.features]] = True
    of_order = np.split(chosen, np.cumsum([len(keys_U) for keys_U in keys])[:-1])
    kept = tuple(keys_U[chosen_U] for keys_U, chosen_U in zip(keys, of_order, strict=True))
    idf_F = idf(np.concatenate(frequency)[chosen], len(texts))
    return TfidfFeatures(
        entries,
        spec.orders,
        kept,
        idf_F,
        spec.sublinear,
    )


def idf(reviews_F: np.ndarray, reviews: int) -> np.ndarray:
    """Return ln((1 + D) / (1 + df)) + 1.

    Args:
        reviews_F: df, the number of training reviews with each feature.
        reviews: D.
    """
    weights_F: np.ndarray = np.log((1 + reviews) / (1 + reviews_F)) + 1
    return weights_F


def _fits(
    spec: FeatureSpec,
    matrix: Any,
    targets_N: np.ndarray,
) -> Iterator[tuple[str, float, Layers]]:
    """Yield name, strength and layers of each candidate: one for each strength, of a network one after each epoch."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import ComplementNB
    from sklearn.neural_network import MLPClassifier

    labels = np.arange(len(spec.labels))
    for strength in spec.strengths:
        name = f"strength_{strength:g}"
        if isinstance(spec, TfidfSpec):
            network = MLPClassifier(
                (spec.hidden,),
                learning_rate_init=strength,
                batch_size=min(spec.batch, len(targets_N)),
                random_state=spec.seed,
            )
            for epoch in range(1, spec.epochs + 1):
                network.partial_fit(matrix, targets_N, classes=labels)
                layers = _layers([coef.T for coef in network.coefs_], network.intercepts_)
                yield f"{name}/epoch_{epoch}", strength, layers
        elif isinstance(spec, BayesSpec):
            bayes = ComplementNB(alpha=strength).fit(matrix, targets_N)
            yield name, strength, _layers([bayes.feature_log_prob_], [np.zeros(len(labels))])
        else:
            regression = LogisticRegression(
                C=strength,
                solver="saga",
                tol=SOLVER_TOLERANCE,
                max_iter=MOST_ITERATIONS,
                random_state=0,
            ).fit(matrix, targets_N)
            yield name, strength, _layers([regression.coef_], [regression.intercept_])


def _layers(weights: Sequence[np.ndarray], biases: Sequence[np.ndarray]) -> Layers:
    """Return W and b of each layer; for two labels scikit-learn has one row, the second label's."""
    layers = []
    for weight, bias in zip(weights, biases, strict=True):
        layers.append((np.array(weight, np.float64, order="C"), np.array(bias, np.float64)))

    if len(layers[-1][1]) == 1:
        weight_1F, bias_1 = layers[-1]
        layers[-1] = (
            np.concatenate([np.zeros_like(weight_1F), weight_1F]),
            np.concatenate([[0.0], bias_1]),
        )

    return layers


def fitted_temperature(scores_NK: np.ndarray, targets_N: np.ndarray) -> float:
    """Return the temperature T with the lowest log loss of softmax(scores / T).

    Features are not independent given the label, so the product of their probabilities overstates the evidence. T
    changes no answer.
    """
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log: log_loss(scores_NK / np.exp(log), targets_N), bounds=(-7, 14), method="bounded"
    )
    return float(np.exp(found.x))
