"""Tune the weights of a mixture's parts on held-out text, and measure where the mixture gains over its parts.

Fixed weights are found by EM. For weights that depend on the context (`models/mixture/context_weights.py`) the descent
starts at W = 0 and b = log of the fixed weights that EM finds, each at least `LEAST`, and the nats never
increase. If the fixed weights are still better (EM may give a part the weight 0), they are kept. So on the tuning text,
weights by context are at least as good as fixed ones.

It is BFGS with a backtracking line search. The inverse Hessian is estimated from the changes of the gradient between
steps (Broyden, Fletcher, Goldfarb, Shanno 1970; Nocedal and Wright 2006, "Numerical Optimization", algorithm 6.1). A
step is halved until the function falls by a given share of the fall that its slope predicts (Armijo). No step increases
the function, so the result is at most the value at the start.

The gains are perplexities by the length of the context that the n-gram model knows.

Shapes: T held-out tokens, P parts, F features.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from models.base import ModelError
from models.mixture.context import matched_before, ngram_models, ngram_states
from models.mixture.context_weights import ContextWeights, log_softmax
from models.mixture.lm import MixtureLM
from models.mixture.parts import Part
from models.mixture.spec import MixtureSpec
from models.mixture.weights import ROUNDS, Fixed, Weighting, em, mixed_nats, shares
from training.context import FitContext, FitResult
from training.mixture.parts import journal_tuning, open_parts
from training.mixture.tuning import TUNING_TOKENS, TuningBatch, batches, token_nats

if TYPE_CHECKING:
    from models.streams import TokenStream
    from models.tokens.vocabulary import Vocabulary


RIDGE = 10.0
"""Penalty on the squared weights of the features, in nats of all held-out text together.

A ridge r is a normal prior of variance 1 / (2 r): weights tuned on little text stay near fixed ones.
"""
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


HALVINGS = 40
PROMISED = 1e-4
"""Minimum fall of a step, as a share of the fall that the slope predicts."""


def descend(
    function: Callable[[np.ndarray], tuple[float, np.ndarray]], start_N: np.ndarray, steps: int, tolerance: float
) -> tuple[np.ndarray, int]:
    """Return a point near a minimum, where the function is at most its value at the start, and the number of steps.

    Args:
        function: Returns its value and its gradient (N,).
        start_N: First point.
        steps: Maximum number of steps.
        tolerance: Stops when no entry of the gradient is larger than this.
    """
    here_N = np.asarray(start_N, np.float64)
    value, gradient_N = function(here_N)
    inverse_NN = np.eye(len(here_N))
    for number in range(steps):
        if np.abs(gradient_N).max(initial=0.0) <= tolerance:
            return here_N, number
        direction_N = -inverse_NN @ gradient_N
        promised = float(gradient_N @ direction_N)
        if promised >= 0:  # rounding errors made the estimate useless: reset it
            inverse_NN, direction_N = np.eye(len(here_N)), -gradient_N
            promised = float(gradient_N @ direction_N)
        size = 1.0
        for _ in range(HALVINGS):
            there_N = here_N + size * direction_N
            new_value, new_gradient_N = function(there_N)
            if new_value <= value + PROMISED * size * promised:
                break
            size /= 2
        else:
            return here_N, number
        inverse_NN = _updated(inverse_NN, there_N - here_N, new_gradient_N - gradient_N, first=number == 0)
        here_N, value, gradient_N = there_N, new_value, new_gradient_N
    return here_N, steps


def _updated(inverse_NN: np.ndarray, step_N: np.ndarray, change_N: np.ndarray, first: bool) -> np.ndarray:
    """Return the inverse Hessian after a step on which the gradient changed by *change_N* (equation 6.17)."""
    along = float(step_N @ change_N)
    if along <= 1e-12 * float(np.linalg.norm(step_N) * np.linalg.norm(change_N)):
        return inverse_NN
    if first:
        inverse_NN = inverse_NN * along / float(change_N @ change_N)
    left_NN = np.eye(len(step_N)) - np.outer(step_N, change_N) / along
    updated_NN: np.ndarray = left_NN @ inverse_NN @ left_NN.T + np.outer(step_N, step_N) / along
    return updated_NN


def known_lengths(parts: Sequence[Part], batch: TuningBatch) -> np.ndarray:
    """Return the length of the longest known context before each scored token (T,); 0 without an n-gram model."""
    ngrams = ngram_models(parts)
    if not ngrams:
        return np.zeros(int(batch.scored_BT.sum()), np.int64)
    states = [part.model.start(len(batch.ids_BT)) for part in parts]
    matched = matched_before(ngrams[0], batch.ids_BT, ngram_states(parts, states)[0])
    return matched.length[batch.scored_BT]


def gains(names: Sequence[str], length_T: np.ndarray, nats_T: np.ndarray, part_TP: np.ndarray) -> pl.DataFrame:
    """Return perplexities of a mixture and its parts by the length of the known context.

    Args:
        names: Names of the P parts.
        length_T: Length of the longest context that the n-gram model knows and has seen continued.
        nats_T: Nats of the mixture.
        part_TP: Nats of the parts.

    Returns:
        One row per length, and one row for all tokens, whose length is null. Columns: `context`, `tokens`, `perplexity`
        of the mixture, and for each part `perplexity NAME`, `gain NAME` = 1 − perplexity of the mixture / perplexity of
        the part.
    """
    groups = [(length, length_T == length) for length in np.unique(length_T).tolist()]
    rows = []
    for length, rows_T in [*groups, (None, np.ones(len(length_T), bool))]:
        perplexity = float(np.exp(nats_T[rows_T].mean()))
        row = {"context": length, "tokens": int(rows_T.sum()), "perplexity": perplexity}
        for i, name in enumerate(names):
            row[f"perplexity {name}"] = float(np.exp(part_TP[rows_T, i].mean()))
            row[f"gain {name}"] = 1 - perplexity / row[f"perplexity {name}"]
        rows.append(row)
    return pl.DataFrame(rows)


def gain_figures(table: pl.DataFrame, names: Sequence[str]) -> dict[str, float]:
    """Return the table's gains as figures of a run, by name: `gain/PART/context_2`, `gain_tokens/context_2`.

    Gains that are not finite are left out, for example where part and mixture both give a word probability 0.
    """
    figures = {}
    for row in table.filter(pl.col("context").is_not_null()).iter_rows(named=True):
        figures[f"gain_tokens/context_{row['context']}"] = float(row["tokens"])
        figures |= {f"gain/{name}/context_{row['context']}": row[f"gain {name}"] for name in names}
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def fit_mixture(
    spec: MixtureSpec, vocabulary: Vocabulary, train: TokenStream, validation: TokenStream, context: FitContext
) -> FitResult:
    """Tune the weights on *validation*; the parts are `context.parts`, and are not changed.

    The summary has the seconds and everything of `tune_weights`.

    Raises:
        ModelError: kind "input": there is no held-out token, or a part is missing or has another vocabulary; kind
            "diverged": the tuned numbers are not finite.
    """
    validation.require(vocabulary)
    parts, began = open_parts(spec.parts, vocabulary, context), time.perf_counter()
    weighting, figures = tune_weights(spec, parts, validation)
    summary = {"seconds": time.perf_counter() - began, **figures}
    journal_tuning(context, summary)
    return FitResult(MixtureLM(parts, weighting), summary)


def tune_weights(
    spec: MixtureSpec, parts: Sequence[Part], validation: TokenStream
) -> tuple[Weighting, dict[str, float]]:
    """Return the tuned weights, and figures of the mixture.

    The figures are the number of tuning tokens, nats and perplexity of the mixture on them, the perplexity of each
    part, the weights, the number of rounds and whether the tuning converged (`converged`, 1 or 0). With an n-gram model
    among the parts or inside them, there is also the gain over each part by the length of the known context (see
    `mixture/gains.py`). On the tuning tokens no part is better than the mixture. The gain there is slightly too high,
    because the weights were tuned on the same tokens.

    Raises:
        ModelError: kind "input": there is no held-out token; kind "diverged": the tuned numbers are not finite.
    """
    tune = {"linear": _linear, "gated": _gated}[spec.method]
    weighting, figures = tune(spec, parts, validation)
    _require_finite(weighting, parts)
    return weighting, {**figures, "validation/perplexity": float(np.exp(figures["validation/nats"]))}


def _require_finite(weighting: Weighting, parts: Sequence[Part]) -> None:
    """Raise if a weight is not finite, because then no figure of the mixture would be a number."""
    try:
        json.dumps(weighting.facts(), allow_nan=False)
    except ValueError as error:
        names = ", ".join(part.name for part in parts)
        raise ModelError(f"the weights of the mixture of {names} are not finite", "diverged") from error


class _Evidence(NamedTuple):
    """The values of T held-out tokens: −log p_i, the length of the known context, the features of context weights."""

    nats_TP: np.ndarray
    length_T: np.ndarray
    features_TF: np.ndarray


def _evidence(
    parts: Sequence[Part], validation: TokenStream, tokens: int, weighting: ContextWeights | None = None
) -> _Evidence:
    """Read about *tokens* held-out tokens; without *weighting* there are no features."""
    models, rows = [part.model for part in parts], []
    for batch in batches(validation, tokens):
        nats_TP = token_nats(models, batch)
        features_TF = np.zeros((len(nats_TP), 0))
        if weighting:
            states = tuple(model.start(len(batch.ids_BT)) for model in models)
            features_TF = weighting.features(batch.ids_BT, states)[batch.scored_BT]
        rows.append((nats_TP, known_lengths(parts, batch), features_TF))
    return _Evidence(*(np.concatenate(column) for column in zip(*rows, strict=True)))


def _linear(spec: MixtureSpec, parts: Sequence[Part], validation: TokenStream) -> tuple[Weighting, dict[str, float]]:
    evidence = _evidence(parts, validation, TUNING_TOKENS)
    weights_P, rounds = em(evidence.nats_TP)
    fixed = Fixed(weights_P)
    figures = _figures(parts, evidence, fixed.log_weights_P) | _rounds(rounds, ROUNDS)
    return fixed, figures | _named("weight", parts, weights_P)


def _gated(spec: MixtureSpec, parts: Sequence[Part], validation: TokenStream) -> tuple[Weighting, dict[str, float]]:
    weighting = ContextWeights.untrained(parts)
    evidence = _evidence(parts, validation, TUNING_TOKENS, weighting)
    weights_P, _ = em(evidence.nats_TP)
    weighting, rounds = fit_context_weights(weighting, evidence.nats_TP, evidence.features_TF, weights_P, RIDGE)
    log_weights_TP = weighting.log_weights(evidence.features_TF)
    fixed = float(mixed_nats(evidence.nats_TP, Fixed(weights_P).log_weights_P).mean())
    figures = _figures(parts, evidence, log_weights_TP) | _rounds(rounds, STEPS)
    figures["validation/perplexity_linear"] = float(np.exp(fixed))
    return weighting, figures | _named("mean_weight", parts, np.exp(log_weights_TP).mean(0))


def _figures(parts: Sequence[Part], evidence: _Evidence, log_weights: np.ndarray) -> dict[str, float]:
    """Return the figures of a mixture with these log λ: one set for all tokens (P,), or one per token (T, P)."""
    nats_T = mixed_nats(evidence.nats_TP, log_weights)
    figures = {"tokens": float(len(nats_T)), "validation/nats": float(nats_T.mean())}
    figures |= _named("validation/perplexity_of", parts, np.exp(evidence.nats_TP.mean(0)))
    if not ngram_models(parts):
        return figures
    names = [part.name for part in parts]
    return figures | gain_figures(gains(names, evidence.length_T, nats_T, evidence.nats_TP), names)


def _rounds(rounds: int, most: int) -> dict[str, float]:
    return {"rounds": float(rounds), "converged": float(rounds < most)}


def _named(what: str, parts: Sequence[Part], values_P: np.ndarray) -> dict[str, float]:
    return {f"{what}/{part.name}": float(value) for part, value in zip(parts, values_P, strict=True)}
