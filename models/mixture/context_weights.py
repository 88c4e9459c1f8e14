"""Compute weights of a mixture that depend on the context, by a small multinomial logistic model.

    p(w | h)  =  Σ_i λ_i(h) p_i(w | h),        λ(h)  =  softmax(b + W x(h))

x are features of every n-gram model among the parts or inside them, at least one (else `ModelError`), for the longest
context h that ends here and was continued in training:

    length        its number of tokens, 0 … N − 1
    back-off      log γ(h): the back-off weight, for the words that never followed h
    followers     log(1 + number of different words that followed h)

Longer contexts and a small γ are in favour of the n-gram model, many followers in favour of models that generalise. The
features are known before the word, so the mixture sums to 1 as exactly as its parts do. W and b minimise the total nats
of T held-out tokens plus ridge · ‖W‖². The ridge is a normal prior on W: with few tokens W stays near 0, with many
tokens the data decide. With r_i, the share of part i in a token (`mixture/weights.py`),

    ∂ nats / ∂ (logit of i)  =  λ_i − r_i                       expectation before the word minus after it

Sources: F. Jelinek and R. L. Mercer (1980), whose weights depend on the context's count (in buckets); R. A. Jacobs,
M. I. Jordan, S. J. Nowlan and G. E. Hinton (1991), "Adaptive mixtures of local experts", Neural Computation 3, for the
function and its gradient (their gating network).

Shapes: T held-out tokens, P parts, F features.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np

from ..base import ModelError
from ..ngram.lm import NGramLM, NGramState
from ..ngram.lookup import NONE, apart, follow
from .parts import Part

KEY = "context_weights"
"""Key of these weights in a file."""
ARRAYS = ("mean_F", "scale_F", "weights_FP", "bias_P")
LEAST_BACKOFF = -20.0
"""Smallest log γ used as a feature. Maximum likelihood leaves 0 to other words (log 0 = −∞), and rounding hardly more;
no weight can be tuned on −∞."""


@dataclass(frozen=True)
class ContextWeights:
    """Weights (`Weighting` in `mixture/lm.py`) that depend on the context.

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
    def with_equal_weights(cls, parts: Sequence[Part]) -> ContextWeights:
        """Return equal weights for all parts and contexts.

        Raises:
            ModelError: kind "input": there is no n-gram model among the parts or inside them.
        """
        orders = [model.order for model in ngram_models(parts)]
        if not orders:
            names = ", ".join(part.name for part in parts)
            raise ModelError(
                f'method = "gated" needs an n-gram model, whose context sets the weights; {names} are none and '
                'hold none: mix them with method = "linear"',
                "input",
            )

        count = sum(order + 1 for order in orders)
        weights_FP = np.zeros((count, len(parts)))
        return cls(
            parts,
            np.zeros(count),
            np.ones(count),
            weights_FP,
            np.zeros(len(parts)),
        )

    @cached_property
    def _models(self) -> list[NGramLM]:
        return ngram_models(self.parts)

    def features(self, ids_BT: np.ndarray, states: Sequence[Any]) -> np.ndarray:
        """Return x before each token, (B, T, F), not centred and not scaled."""
        pairs = zip(self._models, ngram_states(self.parts, states), strict=True)
        return np.concatenate([_before(model, ids_BT, state) for model, state in pairs], -1)

    def before(self, ids_BT: np.ndarray, states: Sequence[Any]) -> np.ndarray:
        """Return log λ before each token; see `Fixed.before`."""
        return self.log_weights(self.features(ids_BT, states))

    def following(self, states: Sequence[Any]) -> np.ndarray:
        """Return log λ for the next token; see `Fixed.following`."""
        pairs = zip(self._models, ngram_states(self.parts, states), strict=True)
        rows = [_features(m, m.contexts(state), len(state.context_BK)) for m, state in pairs]
        return self.log_weights(np.concatenate(rows, -1))

    def log_weights(self, features: np.ndarray) -> np.ndarray:
        """Return log λ (…, P) for features of any leading shape (…, F); the same to the bit in any batch.

        Features are added one after another: a product of matrices sums in another order for another number of rows.
        """
        scaled_FP, shifted_P = self._affine
        logits = np.tile(shifted_P, (*features.shape[:-1], 1))
        for feature, weight_P in enumerate(scaled_FP):
            logits += features[..., feature, None] * weight_P
        return log_softmax(logits)

    @cached_property
    def _affine(self) -> tuple[np.ndarray, np.ndarray]:
        """W and b for features that are not centred and not scaled."""
        scaled_FP = self.weights_FP / self.scale_F[:, None]
        return scaled_FP, self.bias_P - self.mean_F @ scaled_FP

    def facts(self) -> dict[str, Any]:
        """Return the arrays to save, as JSON values."""
        return {KEY: {name: getattr(self, name).tolist() for name in ARRAYS}}

    @classmethod
    def from_facts(cls, parts: Sequence[Part], facts: dict[str, Any]) -> ContextWeights:
        """Return the weights that `facts` describes.

        Raises:
            ModelError: kind "bundle": the weights were tuned for other parts.
        """
        empty = cls.with_equal_weights(parts)
        arrays = [np.array(facts[name], np.float64) for name in ARRAYS]
        for name, array in zip(ARRAYS, arrays, strict=True):
            if array.shape != (expected := getattr(empty, name).shape):
                raise ModelError(
                    f"{name} of the mixture has shape {array.shape}; its parts need {expected}",
                    "bundle",
                )
        return cls(parts, *arrays)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return log softmax over the last axis."""
    shifted = logits - logits.max(-1, keepdims=True)
    log_weights: np.ndarray = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return log_weights


def _before(
    model: NGramLM,
    ids_BT: np.ndarray,
    state: NGramState,
) -> np.ndarray:
    """Return x before each of T tokens (B, T, N + 1); it does not depend on the token itself."""
    ids_BL = np.concatenate([state.context_BK, np.asarray(ids_BT, np.int64)], 1)
    apart_BL = apart(ids_BL)
    last = ids_BT.shape[1]
    rows = (
        row_T.reshape(apart_BL.shape)
        for row_T in follow(apart_BL.ravel(), model.tables.followers[:-1])
    )
    # The context of a position ends at the position before it.
    contexts = (row_BL[:, -last - 1 : -1].ravel() for row_BL in chain([apart_BL], rows))
    return _features(model, contexts if model.order > 1 else (), ids_BT.size).reshape(
        *ids_BT.shape, model.order + 1
    )


def _features(
    model: NGramLM,
    contexts: Iterable[np.ndarray],
    places: int,
) -> np.ndarray:
    """Return x at some places (N + 1 each): one-hot length without 0, log γ, log(1 + followers).

    Args:
        contexts: The row of the context of 1, 2, … tokens at each place; the longest one that was continued counts.
        places: Their number.
    """
    length_Q, backoff_Q, followers_Q = np.zeros((3, places))
    for length, context_Q in enumerate(contexts, start=1):
        at = np.flatnonzero(context_Q != NONE)
        context_C = context_Q[at].astype(np.int64)
        number_C = model.tables.followers[length - 1].span(context_C)[1]
        at = at[number_C > 0]
        context_C = context_C[number_C > 0]
        number_C = number_C[number_C > 0]
        length_Q[at] = length
        followers_Q[at] = number_C
        backoff_Q[at] = model.tables.backoff[length - 1][context_C]

    one_hot = length_Q[:, None] == np.arange(1, model.order)
    rest = np.stack([np.maximum(backoff_Q, LEAST_BACKOFF), np.log1p(followers_Q)], 1)
    return np.concatenate([one_hot.astype(np.float64), rest], 1)


def ngram_models(parts: Sequence[Part]) -> list[NGramLM]:
    """Return the n-gram models among the parts and inside them, at any depth, in order."""
    models: list[NGramLM] = []
    for part in parts:
        model = part.model
        models += (
            [model] if isinstance(model, NGramLM) else ngram_models(getattr(model, "parts", ()))
        )
    return models


def ngram_states(parts: Sequence[Part], states: Sequence[Any]) -> list[NGramState]:
    """Return the states of `ngram_models`, in the same order; states are nested as the models are."""
    inner_states: list[NGramState] = []
    for part, state in zip(parts, states, strict=True):
        if isinstance(part.model, NGramLM):
            inner_states.append(state)
        elif inner := getattr(part.model, "parts", ()):
            inner_states += ngram_states(inner, state.parts)
    return inner_states
