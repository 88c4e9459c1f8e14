"""Fit caches (`models/mixture/cache.py`): choose the weights, and of a continuous cache θ and n, on held-out text."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from reviewlm.models.mixture.cache import LEAST_STATIC, RANGES, CacheLM, range_of
from reviewlm.models.mixture.neural_cache import NeuralCacheLM, cache_nats
from reviewlm.models.mixture.parts import Part
from reviewlm.models.mixture.weights import mixed_nats
from reviewlm.models.specs import CacheSpec, NeuralCacheSpec
from reviewlm.training.context import FitContext, FitResult
from reviewlm.training.mixture.tuning import (
    ROUNDS,
    TUNING_TOKENS,
    TuningBatch,
    batches,
    em,
    journal_tuning,
    open_parts,
)

if TYPE_CHECKING:
    from reviewlm.models.streams import TokenStream
    from reviewlm.models.tokens.vocabulary import Vocabulary

HALVINGS = 24
"""Halvings of the range of λ when pairs of θ and n are compared: to 1e-7."""
LARGEST = 700.0
"""Limit, in nats, on the gain of a cache over the static model, so that no ratio overflows."""
FEW_TOKENS = 100
"""A range with fewer held-out tokens takes the weights that are tuned on all ranges together."""


def fit_cache(
    spec: CacheSpec,
    vocabulary: Vocabulary,
    train: TokenStream,
    validation: TokenStream,
    context: FitContext,
) -> FitResult:
    """Tune the weights on *validation* by EM, one set for each range of `RANGES`.

    The summary has the weights, whether EM converged (`converged`, 1 or 0), the number of tuning tokens, and the
    perplexities on them with and without the cache. The perplexity with the cache is slightly too low, because the
    weights were tuned on the same tokens.

    Raises:
        ModelError: kind "input": there is no held-out token, or `context.parts` lacks the static model.
    """
    validation.require(vocabulary)
    part = open_parts(spec.parts, vocabulary, context)[0]
    model = CacheLM(spec, part, np.eye(spec.order + 1)[[0] * (len(RANGES) + 1)])
    columns = [_evidence(model, batch) for batch in batches(validation, TUNING_TOKENS)]
    nats_TP, range_T = (np.concatenate(column) for column in zip(*columns, strict=True))
    summary = tune(model, nats_TP, range_T)
    journal_tuning(context, summary)
    return FitResult(model, summary)


def fit_neural_cache(
    spec: NeuralCacheSpec,
    vocabulary: Vocabulary,
    train: TokenStream,
    validation: TokenStream,
    context: FitContext,
) -> FitResult:
    """Choose θ, n and the weights on *validation*; see `tuned_neural_cache`.

    Raises:
        ModelError: kind "input": no held-out token, or `context.parts` lacks the static neural model.
    """
    validation.require(vocabulary)
    result = tuned_neural_cache(spec, open_parts(spec.parts, vocabulary, context)[0], validation)
    journal_tuning(context, result.summary)
    return result


def tuned_neural_cache(
    spec: NeuralCacheSpec,
    part: Part,
    validation: TokenStream,
) -> FitResult:
    """Choose θ and n, the pair that makes held-out text most probable with one λ for all; then λ for each range.

    The summary: that of `fit_cache`, and `theta` and `window`.

    Raises:
        ModelError: kind "input": no held-out token, or the part is not a neural model.
    """
    static = np.eye(2)[[0] * (len(RANGES) + 1)]
    first = NeuralCacheLM(
        spec,
        part,
        static,
        spec.thetas[0],
        max(spec.windows),
    )
    candidates = list(_candidates(first, validation))
    theta, window, nats_TP, range_T = min(
        candidates, key=lambda candidate: mixed_with_one_weight(candidate[2])
    )
    best = NeuralCacheLM(
        spec,
        part,
        static,
        theta,
        window,
    )
    return FitResult(
        best,
        {
            **tune(best, nats_TP, range_T),
            "theta": theta,
            "window": float(window),
        },
    )


def tune(
    model: CacheLM,
    nats_TP: np.ndarray,
    range_T: np.ndarray,
) -> dict[str, float]:
    """Tune the weights of a model on its components' −log p of T held-out tokens; return the summary of a fit."""
    model.weights_RP, converged = range_weights(nats_TP, range_T)
    with np.errstate(divide="ignore"):
        nats = float(mixed_nats(nats_TP, np.log(model.weights_RP)[range_T]).mean())

    summary = {
        "tokens": float(len(nats_TP)),
        "validation/nats": nats,
        "validation/perplexity": float(np.exp(nats)),
    }
    summary["converged"] = float(converged)
    summary["validation/perplexity_static"] = float(np.exp(nats_TP[:, 0].mean()))
    for name, column_R in zip(model.names, model.weights_RP.T, strict=True):
        # Without the first range: no token is remembered there, so the static model has all weight.
        summary |= {f"weight/{name}/range_{r}": float(column_R[r]) for r in range(1, len(column_R))}

    return summary


def range_weights(nats_TP: np.ndarray, range_T: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the weights of each range (R, P), and whether EM converged for all of them.

    A range with too few tokens takes the weights that are tuned on all tokens together.
    """
    together_P, most = em(nats_TP)
    weights_RP = np.tile(together_P, (len(RANGES) + 1, 1))
    for number in range(len(weights_RP)):
        own_T = range_T == number
        if own_T.sum() >= FEW_TOKENS:
            weights_RP[number], rounds = em(nats_TP[own_T])
            most = max(most, rounds)

    floor_R = np.maximum(weights_RP[:, 0], LEAST_STATIC)
    caches_R = np.maximum(weights_RP[:, 1:].sum(1), 1e-300)
    cache_RP = weights_RP[:, 1:] * ((1 - floor_R) / caches_R)[:, None]
    return np.concatenate([1 - cache_RP.sum(1, keepdims=True), cache_RP], 1), most < ROUNDS


def _evidence(model: CacheLM, batch: TuningBatch) -> tuple[np.ndarray, np.ndarray]:
    nats_BTP, number_BTN, _ = model.evidence(batch.ids_BT, model.start(len(batch.ids_BT)))
    return nats_BTP[batch.scored_BT], range_of(number_BTN[batch.scored_BT, 0])


def _candidates(
    model: NeuralCacheLM, validation: TokenStream
) -> Iterator[tuple[float, int, np.ndarray, np.ndarray]]:
    """Yield each θ and n with −log p of static model and cache (T, 2) and the ranges (T,) of the held-out tokens.

    The features are compared once for all θ.
    """
    assert isinstance(model.spec, NeuralCacheSpec)
    thetas = model.spec.thetas
    windows = sorted(model.spec.windows)
    static = []
    cache = []
    number = []
    for batch in batches(validation, TUNING_TOKENS):
        state = model.start(len(batch.ids_BT))
        static_BT, before_BTE, _ = model.network_model.read(batch.ids_BT, state.part)
        memory = model._memory(batch.ids_BT, before_BTE, state)
        compared = [cache_nats(memory, before_BTE, thetas, window) for window in windows]
        static.append(static_BT[batch.scored_BT])
        cache.append(np.stack([nats for nats, _ in compared], 1)[..., batch.scored_BT])
        number.append(np.stack([remembered for _, remembered in compared])[..., batch.scored_BT])

    static_T, cache_SWT, number_WT = (
        np.concatenate(pieces, -1) for pieces in (static, cache, number)
    )
    for (s, theta), (w, window) in product(enumerate(thetas), enumerate(windows)):
        nats_T = np.where(number_WT[w] > 0, cache_SWT[s, w], static_T)
        yield theta, window, np.stack([static_T, nats_T], 1), range_of(number_WT[w])


def mixed_with_one_weight(nats_TP: np.ndarray) -> float:
    """Return the least mean nats that one λ for all tokens can reach, −log((1 − λ) p_static + λ p_cache).

    The mean is convex in λ, so bisection finds where its slope is 0.
    """
    # p_cache / p_static − 1.
    gain_T = np.expm1(np.clip(nats_TP[:, 0] - nats_TP[:, 1], None, LARGEST))
    low = 0.0
    high = 1.0 - LEAST_STATIC
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        rising = float((gain_T / (1 + middle * gain_T)).mean()) > 0
        low, high = (middle, high) if rising else (low, middle)

    return float(nats_TP[:, 0].mean() - np.log1p(low * gain_T).mean())
