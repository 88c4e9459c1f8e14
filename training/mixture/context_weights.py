"""Tune weights of a mixture that depend on the context (`models/mixture/context_weights.py`) on held-out tokens.

The descent starts at W = 0 and b = log of the fixed weights that EM finds, each at least `LEAST`, and the nats never
increase. If the fixed weights are still better (EM may give a part the weight 0), they are kept. So on the tuning text,
weights by context are at least as good as fixed ones.

Shapes: T held-out tokens, P parts, F features.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.mixture.context_weights import ContextWeights, log_softmax
from models.mixture.weights import mixed_nats, shares
from training.mixture.descent import descend

STEPS, TOLERANCE = 200, 1e-6
LEAST = 1e-4
"""Minimum weight of a part before training: a part that is useless on average may be useful in some contexts."""
NOTHING = 1e-300
"""Value used for a weight of 0, whose logarithm cannot be stored as JSON."""


def fit_context_weights(
    weighting: ContextWeights, nats_TP: np.ndarray, features_TF: np.ndarray, weights_P: np.ndarray, ridge: float
) -> tuple[ContextWeights, int]:
    """Return the weights tuned on held-out tokens, and the number of steps.

    Args:
        weighting: Untrained weights.
        nats_TP: −log p_i of each token.
        features_TF: x before each token, from `ContextWeights.features`.
        weights_P: Fixed weights from EM, the starting point.
        ridge: Penalty on the squared entries of W, in nats of the whole text.
    """
    mean_F, scale_F = features_TF.mean(0), features_TF.std(0)
    scale_F = np.where(scale_F > 0, scale_F, 1.0)
    x_TF = (features_TF - mean_F) / scale_F
    shape = x_TF.shape[1], nats_TP.shape[1]
    start_P, fixed_P = (np.log(np.maximum(weights_P, least)) for least in (LEAST, NOTHING))
    possible_T = np.isfinite(nats_TP).any(1)
    if not possible_T.any():
        return replace(weighting, mean_F=mean_F, scale_F=scale_F, bias_P=fixed_P), 0
    x_TF, nats_TP = x_TF[possible_T], nats_TP[possible_T]

    def loss(flat_N: np.ndarray) -> tuple[float, np.ndarray]:
        value, weights_FP, bias_P = context_slope(x_TF, nats_TP, *_unpacked(flat_N, shape), ridge / len(x_TF))
        return value, np.concatenate([weights_FP.ravel(), bias_P])

    start_N, fixed_N = (np.concatenate([np.zeros(shape[0] * shape[1]), bias_P]) for bias_P in (start_P, fixed_P))
    best_N, steps = descend(loss, start_N, STEPS, TOLERANCE)
    if loss(best_N)[0] > loss(fixed_N)[0]:
        best_N = fixed_N
    weights_FP, bias_P = _unpacked(best_N, shape)
    return replace(weighting, mean_F=mean_F, scale_F=scale_F, weights_FP=weights_FP, bias_P=bias_P), steps


def context_slope(
    x_TF: np.ndarray, nats_TP: np.ndarray, weights_FP: np.ndarray, bias_P: np.ndarray, ridge: float
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the mean nats plus ridge · ‖W‖², and the gradients with respect to W and b."""
    log_weights_TP = log_softmax(x_TF @ weights_FP + bias_P)
    value = float(mixed_nats(nats_TP, log_weights_TP).mean()) + ridge * float((weights_FP**2).sum())
    into_TP = (np.exp(log_weights_TP) - shares(nats_TP, log_weights_TP)) / len(x_TF)
    return value, x_TF.T @ into_TP + 2 * ridge * weights_FP, into_TP.sum(0)


def _unpacked(flat_N: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    size = shape[0] * shape[1]
    return flat_N[:size].reshape(shape), flat_N[size:]
