"""Compute weights of a mixture that depend on the context, by a small multinomial logistic model.

    p(w | h)  =  Σ_i λ_i(h) p_i(w | h),        λ(h)  =  softmax(b + W x(h))

x are the features of `mixture/context.py`, for every n-gram model among the parts or inside them. They are known before
the word, so the mixture sums to 1 as exactly as its parts do. W and b minimise the total nats of T held-out tokens plus
ridge · ‖W‖². The ridge is a normal prior on W: with few tokens W stays near 0, with many tokens the data decide. With
r_i, the share of part i in a token (`mixture/weights.py`),

    ∂ nats / ∂ (logit of i)  =  λ_i − r_i                       expectation before the word minus after it

The descent starts at W = 0 and b = log of the fixed weights that EM finds, each at least `LEAST`, and the nats never
increase. If the fixed weights are still better (EM may give a part the weight 0), they are kept. So on the tuning text,
weights by context are at least as good as fixed ones. An n-gram model must be among the parts or inside one of them (a
cache, a mixture); otherwise there are no features, and `ModelError` is raised.

Sources: F. Jelinek and R. L. Mercer (1980), whose weights depend on the context's count (in buckets); R. A. Jacobs,
M. I. Jordan, S. J. Nowlan and G. E. Hinton (1991), "Adaptive mixtures of local experts", Neural Computation 3, for the
function and its gradient (their gating network).

Shapes: T held-out tokens, P parts, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..base import ModelError
from ..ngram.lm import NGramLM
from .context import matched_after, matched_before, ngram_models, ngram_states
from training.mixture.descent import descend
from .parts import Part
from .weights import mixed_nats, shares

KEY = "context_weights"
"""Key of these weights in a file."""
STEPS, TOLERANCE = 200, 1e-6
ARRAYS = ("mean_F", "scale_F", "weights_FP", "bias_P")
LEAST = 1e-4
"""Minimum weight of a part before training: a part that is useless on average may be useful in some contexts."""
NOTHING = 1e-300
"""Value used for a weight of 0, whose logarithm cannot be stored as JSON."""


@dataclass(frozen=True)
class ContextWeights:
    """A `Weighting` (see `mixture/lm.py`) that depends on the context.

    Args:
        parts: Parts of the mixture; the n-gram models among them, at any depth, give the features.
        mean_F: Mean of the features on the tuning text, subtracted from them.
        scale_F: Standard deviation of the features on the tuning text, by which they are divided.
        weights_FP: W.
        bias_P: b.
    """

    parts: Sequence[Part] = field(repr=False)
    mean_F: np.ndarray
    scale_F: np.ndarray
    weights_FP: np.ndarray
    bias_P: np.ndarray

    @classmethod
    def untrained(cls, parts: Sequence[Part]) -> ContextWeights:
        """Return equal weights for all parts and contexts.

        Raises:
            ModelError: kind "input": there is no n-gram model among the parts or inside them.
        """
        orders = [model.order for model in ngram_models(parts)]
        if not orders:
            names = ", ".join(part.name for part in parts)
            raise ModelError(
                f'method = "gated" needs an n-gram model, whose context sets the weights; {names} are none and '
                'hold none: mix them with method = "linear"', "input",
            )  # fmt: skip
        count = sum(order + 1 for order in orders)
        return cls(parts, np.zeros(count), np.ones(count), np.zeros((count, len(parts))), np.zeros(len(parts)))

    @cached_property
    def _models(self) -> list[NGramLM]:
        return ngram_models(self.parts)

    def features(self, ids_BT: np.ndarray, states: Sequence[Any]) -> np.ndarray:
        """Return x before each token, (B, T, F), not centred and not scaled."""
        pairs = zip(self._models, ngram_states(self.parts, states), strict=True)
        return np.concatenate([matched_before(m, ids_BT, state).features(m.order) for m, state in pairs], -1)

    def before(self, ids_BT: np.ndarray, states: Sequence[Any]) -> np.ndarray:
        """Return log λ before each token; see `Weighting.before`."""
        return self.log_weights(self.features(ids_BT, states))

    def following(self, states: Sequence[Any]) -> np.ndarray:
        """Return log λ for the next token; see `Weighting.following`."""
        pairs = zip(self._models, ngram_states(self.parts, states), strict=True)
        return self.log_weights(np.concatenate([matched_after(m, state).features(m.order) for m, state in pairs], -1))

    def log_weights(self, features: np.ndarray) -> np.ndarray:
        """Return log λ (…, P) for features of any leading shape (…, F)."""
        scaled_FP, shifted_P = self._affine
        return _log_softmax(features @ scaled_FP + shifted_P)

    @cached_property
    def _affine(self) -> tuple[np.ndarray, np.ndarray]:
        """W and b for features that are not centred and not scaled."""
        scaled_FP = self.weights_FP / self.scale_F[:, None]
        return scaled_FP, self.bias_P - self.mean_F @ scaled_FP

    def facts(self) -> dict[str, Any]:
        """Return the arrays to save as JSON values; see `Weighting.facts`."""
        return {KEY: {name: getattr(self, name).tolist() for name in ARRAYS}}

    @classmethod
    def from_facts(cls, parts: Sequence[Part], facts: dict[str, Any]) -> ContextWeights:
        """Return the weights that `facts` describes.

        Raises:
            ModelError: kind "bundle": the weights were tuned for other parts.
        """
        empty, arrays = cls.untrained(parts), [np.array(facts[name], np.float64) for name in ARRAYS]
        for name, array in zip(ARRAYS, arrays, strict=True):
            if array.shape != (expected := getattr(empty, name).shape):
                raise ModelError(f"{name} of the mixture has shape {array.shape}; its parts need {expected}", "bundle")
        return cls(parts, *arrays)


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
    log_weights_TP = _log_softmax(x_TF @ weights_FP + bias_P)
    value = float(mixed_nats(nats_TP, log_weights_TP).mean()) + ridge * float((weights_FP**2).sum())
    into_TP = (np.exp(log_weights_TP) - shares(nats_TP, log_weights_TP)) / len(x_TF)
    return value, x_TF.T @ into_TP + 2 * ridge * weights_FP, into_TP.sum(0)


def _unpacked(flat_N: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    size = shape[0] * shape[1]
    return flat_N[:size].reshape(shape), flat_N[size:]


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    found: np.ndarray = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return found
