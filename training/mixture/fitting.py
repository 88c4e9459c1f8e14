"""Tune the weights of a mixture's parts on held-out text.

Fixed weights are found by EM. For weights that depend on the context (`models/mixture/context_weights.py`) the descent
starts at W = 0 and b = log of the fixed weights that EM finds, each at least `LEAST_WEIGHT`, and the nats never
increase. If the fixed weights are still better (EM may give a part the weight 0), they are kept. So on the tuning text,
weights by context are at least as good as fixed ones.

It is BFGS (Nocedal and Wright 2006, "Numerical Optimization", algorithm 6.1), that of scipy.

Shapes: T held-out tokens, P parts, F features.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from reviewlm.models.base import ModelError
from reviewlm.models.mixture.context_weights import ContextWeights, log_softmax
from reviewlm.models.mixture.lm import MixtureLM, Weighting
from reviewlm.models.mixture.parts import Part
from reviewlm.models.mixture.weights import Fixed, mixed_nats, shares
from reviewlm.models.specs import MixtureSpec
from reviewlm.training.context import FitContext, FitResult
from reviewlm.training.mixture.tuning import (
    ROUNDS,
    TUNING_TOKENS,
    batches,
    em,
    journal_tuning,
    open_parts,
    token_nats,
)

if TYPE_CHECKING:
    from reviewlm.models.streams import TokenStream
    from reviewlm.models.tokens.vocabulary import Vocabulary


RIDGE = 10.0
"""Penalty on the squared weights of the features, in nats of all held-out text together.

A ridge r is a normal prior of variance 1 / (2 r): weights tuned on little text stay near fixed ones.
"""
STEPS = 200
TOLERANCE = 1e-6
LEAST_WEIGHT = 1e-4
"""Minimum weight of a part before training: a part that is useless on average may be useful in some contexts."""
NOTHING = 1e-300
"""Value used for a weight of 0, whose logarithm cannot be stored as JSON."""


def fit_context_weights(
    weighting: ContextWeights,
    nats_TP: np.ndarray,
    features_TF: np.ndarray,
    weights_P: np.ndarray,
    ridge: float,
) -> tuple[ContextWeights, int]:
    """Return the weights tuned on held-out tokens, and the number of steps.

    Args:
        weighting: Untrained weights.
        nats_TP: −log p_i of each token.
        features_TF: x before each token, from `ContextWeights.features`.
        weights_P: Fixed weights from EM, the starting point.
        ridge: Penalty on the squared entries of W, in nats of the whole text.
    """
    from scipy.optimize import minimize  # here, because the import takes a while

    mean_F = features_TF.mean(0)
    scale_F = features_TF.std(0)
    scale_F = np.where(scale_F > 0, scale_F, 1.0)
    x_TF = (features_TF - mean_F) / scale_F
    shape = x_TF.shape[1], nats_TP.shape[1]
    start_P, fixed_P = (np.log(np.maximum(weights_P, least)) for least in (LEAST_WEIGHT, NOTHING))
    possible_T = np.isfinite(nats_TP).any(1)
    if not possible_T.any():
        return replace(
            weighting,
            mean_F=mean_F,
            scale_F=scale_F,
            bias_P=fixed_P,
        ), 0

    x_TF = x_TF[possible_T]
    nats_TP = nats_TP[possible_T]

    def loss(flat_N: np.ndarray) -> tuple[float, np.ndarray]:
        value, weights_FP, bias_P = context_slope(
            x_TF, nats_TP, *_unpack(flat_N, shape), ridge / len(x_TF)
        )
        return value, np.concatenate([weights_FP.ravel(), bias_P])

    no_weights_N = np.zeros(shape[0] * shape[1])
    start_N = np.concatenate([no_weights_N, start_P])
    fixed_N = np.concatenate([no_weights_N, fixed_P])
    best = minimize(
        loss,
        start_N,
        jac=True,
        method="BFGS",
        options={"gtol": TOLERANCE, "maxiter": STEPS},
    )
    if best.fun > loss(fixed_N)[0]:
        best_N = fixed_N
    else:
        best_N = best.x

    steps = int(best.nit)
    weights_FP, bias_P = _unpack(best_N, shape)
    return replace(
        weighting,
        mean_F=mean_F,
        scale_F=scale_F,
        weights_FP=weights_FP,
        bias_P=bias_P,
    ), steps


def context_slope(
    x_TF: np.ndarray,
    nats_TP: np.ndarray,
    weights_FP: np.ndarray,
    bias_P: np.ndarray,
    ridge: float,
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the mean nats plus ridge · ‖W‖², and the gradients with respect to W and b."""
    log_weights_TP = log_softmax(x_TF @ weights_FP + bias_P)
    value = float(mixed_nats(nats_TP, log_weights_TP).mean()) + ridge * float((weights_FP**2).sum())
    into_TP = (np.exp(log_weights_TP) - shares(nats_TP, log_weights_TP)) / len(x_TF)
    return value, x_TF.T @ into_TP + 2 * ridge * weights_FP, into_TP.sum(0)


def _unpack(flat_N: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    size = shape[0] * shape[1]
    return flat_N[:size].reshape(shape), flat_N[size:]


def fit_mixture(
    spec: MixtureSpec,
    vocabulary: Vocabulary,
    train: TokenStream,
    validation: TokenStream,
    context: FitContext,
) -> FitResult:
    """Tune the weights on *validation*; the parts are `context.parts`, and are not changed.

    The summary has the seconds and everything of `tune_weights`.

    Raises:
        ModelError: kind "input": there is no held-out token, or a part is missing or has another vocabulary; kind
            "diverged": the tuned numbers are not finite.
    """
    validation.require(vocabulary)
    parts = open_parts(spec.parts, vocabulary, context)
    began = time.perf_counter()
    weighting, figures = tune_weights(spec, parts, validation)
    summary = {"seconds": time.perf_counter() - began, **figures}
    journal_tuning(context, summary)
    return FitResult(MixtureLM(parts, weighting), summary)


def tune_weights(
    spec: MixtureSpec,
    parts: Sequence[Part],
    validation: TokenStream,
) -> tuple[Weighting, dict[str, float]]:
    """Return the tuned weights, and figures of the mixture.

    The figures are the number of tuning tokens, nats and perplexity of the mixture on them, the perplexity of each
    part, the weights, the number of rounds and whether the tuning converged (`converged`, 1 or 0). On the
    tuning tokens no part is better than the mixture. The gain there is slightly too high, because the weights were
    tuned on the same tokens.

    Raises:
        ModelError: kind "input": there is no held-out token; kind "diverged": the tuned numbers are not finite.
    """
    gated = None
    if spec.method == "gated":
        gated = ContextWeights.with_equal_weights(parts)

    nats_TP, features_TF = _evidence(parts, validation, gated)
    weights_P, rounds = em(nats_TP)
    fixed = Fixed(weights_P)
    figures = {"tokens": float(len(nats_TP))} | _figures_of(
        "validation/perplexity_of", parts, np.exp(nats_TP.mean(0))
    )
    if gated is None:
        weighting: Weighting = fixed
        log_weights = fixed.log_weights_P
        most = ROUNDS
        figures |= _figures_of("weight", parts, weights_P)
    else:
        weighting, rounds = fit_context_weights(
            gated,
            nats_TP,
            features_TF,
            weights_P,
            RIDGE,
        )
        log_weights = weighting.log_weights(features_TF)
        most = STEPS
        figures |= _figures_of("mean_weight", parts, np.exp(log_weights).mean(0))
        figures["validation/perplexity_linear"] = float(
            np.exp(mixed_nats(nats_TP, fixed.log_weights_P).mean())
        )

    _require_finite(weighting, parts)
    nats = float(mixed_nats(nats_TP, log_weights).mean())
    figures |= {"validation/nats": nats, "validation/perplexity": float(np.exp(nats))}
    return weighting, figures | {"rounds": float(rounds), "converged": float(rounds < most)}


def _require_finite(weighting: Weighting, parts: Sequence[Part]) -> None:
    """Raise if a weight is not finite, because then no figure of the mixture would be a number."""
    try:
        json.dumps(weighting.facts(), allow_nan=False)
    except ValueError as error:
        names = ", ".join(part.name for part in parts)
        raise ModelError(
            f"the weights of the mixture of {names} are not finite", "diverged"
        ) from error


def _evidence(
    parts: Sequence[Part],
    validation: TokenStream,
    weighting: ContextWeights | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return −log p_i of the tuning tokens (T, P), and the features of context weights (T, F); else there are none."""
    models = [part.model for part in parts]
    rows = []
    for batch in batches(validation, TUNING_TOKENS):
        nats_TP = token_nats(models, batch)
        features_TF = np.zeros((len(nats_TP), 0))
        if weighting:
            states = tuple(model.start(len(batch.ids_BT)) for model in models)
            features_TF = weighting.features(batch.ids_BT, states)[batch.scored_BT]
        rows.append((nats_TP, features_TF))

    nats, features = zip(*rows, strict=True)
    return np.concatenate(nats), np.concatenate(features)


def _figures_of(
    what: str,
    parts: Sequence[Part],
    values_P: np.ndarray,
) -> dict[str, float]:
    return {
        f"{what}/{part.name}": float(value) for part, value in zip(parts, values_P, strict=True)
    }
