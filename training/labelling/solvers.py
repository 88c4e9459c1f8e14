"""Fit the layers of a classifier on tf-idf vectors: logistic regression, complement naive Bayes, a hidden layer.

    logistic    a Newton method with a trust region (C.-J. Lin, R. Weng and S. Keerthi 2008, "Trust region Newton method
                for large-scale logistic regression"): scipy's, with products H v in place of the matrix H
    network     Adam, whose moments of the weights of a feature change only in batches with this feature

Both stop early, which regularises as well.
Shapes: N reviews, F features, K labels, H hidden units, B reviews of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.special import log_softmax

from models.classification.spec import TfidfSpec

Layers = list[tuple[np.ndarray, np.ndarray]]
"""W (outputs × inputs) and b of each layer, float64."""
LIMIT = 1e-2
"""The solver stops at a gradient of this share of its norm at W = 0. With 3e-3 it takes half as long again and is no
better on validation."""
FIRST_RADIUS, LARGEST_RADIUS = 1e3, 1e6
DECAY, SQUARE_DECAY, TINY = np.float32(0.9), np.float32(0.999), np.float32(1e-8)


def logistic(matrix_NF: Any, targets_N: np.ndarray, labels: int, strength: float) -> Layers:
    """Minimise ½ ‖W‖² + C Σ −log softmax(W x + b), with the strength C.

    Args:
        matrix_NF: Vectors of the reviews (scipy's CSR matrix, float32).
        targets_N: Label numbers.
        labels: K.
    """
    from scipy.optimize import minimize
    from scipy.sparse import hstack

    x_NG = hstack([matrix_NF, np.ones((len(targets_N), 1), np.float32)], format="csr")  # b: the weights of a feature 1
    x_GN, shape, one_NK = x_NG.T.tocsr(), (x_NG.shape[1], labels), _one_hot(targets_N, labels)
    penalty_G1 = np.append(np.ones(shape[0] - 1), 0.0)[:, None]
    latest: list[np.ndarray] = [np.empty(0), np.empty(0)]  # a point, and the probabilities there

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        weight_GK = point.reshape(shape)
        logp_NK = log_softmax(x_NG @ weight_GK.astype(np.float32), 1)
        latest[:] = point.copy(), np.exp(logp_NK)
        total = (penalty_G1 * weight_GK * weight_GK).sum() / 2 - strength * float((one_NK * logp_NK).sum(dtype=float))
        return total, (penalty_G1 * weight_GK + x_GN @ (strength * (latest[1] - one_NK))).ravel()

    def product(point: np.ndarray, vector: np.ndarray) -> np.ndarray:
        if not np.array_equal(latest[0], point):  # after a step that was refused
            loss(point)
        p_NK, vector_GK = latest[1], vector.reshape(shape)
        change_NK = p_NK * (x_NG @ vector_GK.astype(np.float32))
        change_NK -= p_NK * change_NK.sum(1, keepdims=True)
        product_G: np.ndarray = (penalty_G1 * vector_GK + x_GN @ (strength * change_NK)).ravel()
        return product_G

    start = np.zeros(shape[0] * labels)
    options = {"gtol": LIMIT * float(np.linalg.norm(loss(start)[1])), "initial_trust_radius": FIRST_RADIUS,
               "max_trust_radius": LARGEST_RADIUS}  # fmt: skip
    found_GK = minimize(loss, start, jac=True, hessp=product, method="trust-ncg", options=options).x.reshape(shape)
    return _layers(found_GK[:-1], found_GK[-1])


def bayes(matrix_NF: Any, targets_N: np.ndarray, labels: int, strength: float) -> Layers:
    """Return W = −log p(feature | other labels), from sums of values to each of which *strength* is added."""
    others_FK = matrix_NF.T @ (1.0 - _one_hot(targets_N, labels)).astype(np.float64) + strength
    return _layers(-np.log(others_FK / others_FK.sum(0)), np.zeros(labels))


def network(matrix_NF: Any, targets_N: np.ndarray, labels: int, strength: float, spec: TfidfSpec) -> Iterator[Layers]:
    """Yield the layers after each epoch; *strength* is the learning rate."""
    draw, one_NK = np.random.default_rng(spec.seed), _one_hot(targets_N, labels)
    arrays: list[np.ndarray] = []
    for inputs, outputs in ((matrix_NF.shape[1], spec.hidden), (spec.hidden, labels)):
        most = (6 / (inputs + outputs)) ** 0.5  # X. Glorot and Y. Bengio 2010, equation 16
        arrays += [draw.uniform(-most, most, (inputs, outputs)).astype(np.float32), np.zeros(outputs, np.float32)]
    moments = [(np.zeros_like(array), np.zeros_like(array)) for array in arrays]
    weight_FH, bias_H, weight_HK, bias_K = arrays
    step = 0
    for _ in range(spec.epochs):
        order_N = draw.permutation(len(targets_N))
        for first in range(0, len(order_N), spec.batch):
            rows_B = order_N[first : first + spec.batch]
            x_BF = matrix_NF[rows_B]
            used = np.flatnonzero(np.bincount(x_BF.indices, minlength=len(weight_FH)))
            x_BU = x_BF[:, used]
            hidden_BH = np.maximum(x_BU @ weight_FH[used] + bias_H, 0)
            logp_BK = log_softmax(hidden_BH @ weight_HK + bias_K, 1)
            error_BK = (np.exp(logp_BK) - one_NK[rows_B]) / np.float32(len(rows_B))
            error_BH = (error_BK @ weight_HK.T) * (hidden_BH > 0)
            gradients = x_BU.T @ error_BH, error_BH.sum(0), hidden_BH.T @ error_BK, error_BK.sum(0)
            step += 1
            rate = np.float32(strength * (1 - SQUARE_DECAY**step) ** 0.5 / (1 - DECAY**step))
            places: tuple[Any, ...] = (used, slice(None), slice(None), slice(None))
            for array, (mean, square), place, slope in zip(arrays, moments, places, gradients, strict=True):
                mean[place] = mean_U = DECAY * mean[place] + (1 - DECAY) * slope
                square[place] = square_U = SQUARE_DECAY * square[place] + (1 - SQUARE_DECAY) * slope * slope
                array[place] -= rate * mean_U / (np.sqrt(square_U) + TINY)
        yield _layers(weight_FH, bias_H) + _layers(weight_HK, bias_K)


def _one_hot(targets_N: np.ndarray, labels: int) -> np.ndarray:
    one_NK: np.ndarray = np.eye(labels, dtype=np.float32)[targets_N]
    return one_NK


def _layers(weight_IO: np.ndarray, bias_O: np.ndarray) -> Layers:
    return [(np.array(weight_IO.T, np.float64, order="C"), np.array(bias_O, np.float64))]
