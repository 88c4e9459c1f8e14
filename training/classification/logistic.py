"""Fit a logistic regression by scikit-learn; choose its strength on validation reviews."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from models.classification.classifier import ClassifierFit, log_loss, prior
from models.classification.features.review_features import ReviewFeatures
from models.classification.figures import macro_f1
from models.classification.logistic import LogisticClassifier, products
from models.classification.spec import LogisticSpec
from models.classification.texts import text_rows
from models.neural.labelling.rows import FeatureRows
from training.context import FitContext, journal

if TYPE_CHECKING:
    from models.neural.labelling.labelled_sequences import LabelledSequences
    from models.tokens.vocabulary import Vocabulary

MOST_ITERATIONS, LIMIT = 1_000, 1e-3
"""When the solver stops: after so many iterations, or where no element of the gradient is larger."""


def fit_logistic(
    spec: LogisticSpec, vocabulary: Vocabulary, train: LabelledSequences, validation: LabelledSequences,
    context: FitContext,
) -> ClassifierFit:  # fmt: skip
    """Fit with each strength; keep the one with the lowest loss, or the highest macro-F1, on validation."""
    began, labels = time.perf_counter(), len(spec.labels)
    texts = text_rows(train.sequences)
    features = ReviewFeatures.learn(spec, texts, vocabulary.size, context.lexicons)
    train_x, validation_x = features.transform(texts), features.transform(text_rows(validation.sequences))
    best: tuple[float, float, np.ndarray, np.ndarray] | None = None
    figures: dict[str, float] = {}
    for strength, weight_KF, bias_K in _fits(spec, train_x, train.targets, len(features), labels):
        scores_NK = products(validation_x, weight_KF) + bias_K
        loss = log_loss(scores_NK, validation.targets)
        f1 = macro_f1(validation.targets, scores_NK.argmax(1), labels)
        figures |= {f"strength_{strength:g}/log_loss": loss, f"strength_{strength:g}/macro_f1": f1}
        rank = -f1 if spec.choose_by == "macro_f1" else loss
        if best is None or rank < best[0]:
            best = rank, strength, weight_KF, bias_K
    assert best is not None  # there is at least one strength
    seconds, (_, strength, weight_KF, bias_K) = time.perf_counter() - began, best
    journal(context, len(train.sequences.ids_P), {**figures, "strength": strength})
    model = LogisticClassifier(spec, features, weight_KF, bias_K, prior(train.targets, labels))
    summary = {"parameters": float(weight_KF.size + bias_K.size), "features": float(len(features)),
               "strength": strength, "seconds": seconds}  # fmt: skip
    return ClassifierFit(model, summary)


def _fits(
    spec: LogisticSpec, x: FeatureRows, targets_N: np.ndarray, features: int, labels: int
) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
    """Yield strength, W and b of each fit, from the weakest to the strongest.

    Each starts from zero. The solver stops where no element of the gradient of the mean loss is above a limit. The
    result of a weaker strength is so near by this measure that, with many reviews, no step would be made from there.
    A limit of 1e-3, in float32, took 10 s for all five strengths where one of 1e-4, in float64, took 34 s and was no
    better: an early stop is one more penalty (8,000 reviews, 106,000 features).
    """
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression

    matrix = csr_matrix((x.values_P.astype(np.float32), x.ids_P, x.offsets), (len(x), features))
    regression = LogisticRegression(max_iter=MOST_ITERATIONS, tol=LIMIT)
    for strength in spec.strengths:
        regression.set_params(C=strength).fit(matrix, targets_N)
        weight_KF, bias_K = (array.astype(np.float64, order="C") for array in (regression.coef_, regression.intercept_))
        if labels == 2:  # scikit-learn has one row then
            weight_KF, bias_K = (np.concatenate([np.zeros_like(array), array]) for array in (weight_KF, bias_K))
        yield strength, weight_KF, bias_K
