"""Tune the weights of a mixture's fitted parts on held-out text."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from models.base import ModelError
from models.mixture.context import ngram_models
from models.mixture.context_weights import ContextWeights
from models.mixture.lm import MixtureLM
from models.mixture.parts import Part
from models.mixture.spec import MixtureSpec
from models.mixture.weights import ROUNDS, Fixed, Weighting, em, mixed_nats
from training.context import FitContext, FitResult
from training.mixture.context_weights import STEPS, fit_context_weights
from training.mixture.gains import gain_figures, gains, known_lengths
from training.mixture.parts import journal_tuning, open_parts
from training.mixture.tuning import batches, token_nats

if TYPE_CHECKING:
    from models.streams import TokenStream
    from models.tokens.vocabulary import Vocabulary


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
    found = _evidence(parts, validation, spec.tuning_tokens)
    weights_P, rounds = em(found.nats_TP)
    fixed = Fixed(weights_P)
    figures = _figures(parts, found, fixed.log_weights_P) | _rounds(rounds, ROUNDS)
    return fixed, figures | _named("weight", parts, weights_P)


def _gated(spec: MixtureSpec, parts: Sequence[Part], validation: TokenStream) -> tuple[Weighting, dict[str, float]]:
    weighting = ContextWeights.untrained(parts)
    found = _evidence(parts, validation, spec.tuning_tokens, weighting)
    weights_P, _ = em(found.nats_TP)
    weighting, rounds = fit_context_weights(weighting, found.nats_TP, found.features_TF, weights_P, spec.ridge)
    log_weights_TP = weighting.log_weights(found.features_TF)
    fixed = float(mixed_nats(found.nats_TP, Fixed(weights_P).log_weights_P).mean())
    figures = _figures(parts, found, log_weights_TP) | _rounds(rounds, STEPS)
    figures["validation/perplexity_linear"] = float(np.exp(fixed))
    return weighting, figures | _named("mean_weight", parts, np.exp(log_weights_TP).mean(0))


def _figures(parts: Sequence[Part], found: _Evidence, log_weights: np.ndarray) -> dict[str, float]:
    """Return the figures of a mixture with these log λ: one set for all tokens (P,), or one per token (T, P)."""
    nats_T = mixed_nats(found.nats_TP, log_weights)
    figures = {"tokens": float(len(nats_T)), "validation/nats": float(nats_T.mean())}
    figures |= _named("validation/perplexity_of", parts, np.exp(found.nats_TP.mean(0)))
    if not ngram_models(parts):
        return figures
    names = [part.name for part in parts]
    return figures | gain_figures(gains(names, found.length_T, nats_T, found.nats_TP), names)


def _rounds(rounds: int, most: int) -> dict[str, float]:
    return {"rounds": float(rounds), "converged": float(rounds < most)}


def _named(what: str, parts: Sequence[Part], values_P: np.ndarray) -> dict[str, float]:
    return {f"{what}/{part.name}": float(value) for part, value in zip(parts, values_P, strict=True)}
