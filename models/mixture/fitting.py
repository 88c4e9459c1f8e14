"""Fit a mixture: tune the weights of its fitted parts on held-out text."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from ..base import FitContext, FitResult, LanguageModel, ModelError
from ..tokens.vocabulary import CONTEXT_IDS
from . import log_linear
from .context import ngram_models
from .context_weights import STEPS, ContextWeights, fit_context_weights
from .gains import gain_figures, gain_table, gains, known_lengths
from .lm import LinearMixture, MixtureLM
from .log_linear import fit_exponents, slope
from .log_linear_lm import LogLinearMixture
from .parts import Part, journal_tuning
from .spec import MixtureSpec
from .tuning import NO_TOKEN, batches, token_nats
from .weights import ROUNDS, Fixed, em, mixed_nats

if TYPE_CHECKING:
    from ..streams import TokenStream

ENTRIES = 1 << 26
"""Maximum number of log-probabilities in memory while exponents are tuned: 256 MiB of float32."""
IMPOSSIBLE = "a part gives some word probability 0, so would a log-linear mixture: smooth that part, or mix linearly"
WINDOW, GOLDEN = 8, 0.6180339887498949
"""Number of consecutive tokens whose distributions are taken from one review, and the golden section."""


def fit_mixture(spec: MixtureSpec, parts: Sequence[Part], validation: TokenStream, context: FitContext) -> FitResult:
    """Tune the weights and measure the mixture.

    The summary has seconds, the number of tuning tokens, nats and perplexity of the mixture on them, the perplexity of
    each part, the weights, the number of rounds and whether the tuning converged (`converged`, 1 or 0). For a
    log-linear mixture the tokens are only those whose distributions fit in memory. With an n-gram model among the parts
    or inside them, the summary also has the gain over each part by the length of the known context (see
    `mixture/gains.py`). On the tuning tokens no part is better than the mixture. The gain there is slightly too high,
    because the weights were tuned on the same tokens.

    Raises:
        ModelError: kind "diverged": the tuned numbers are not finite; see also `MixtureLM.fit`.
    """
    began = time.perf_counter()
    tune = {"linear": _linear, "gated": _gated, "log_linear": _log_linear}[spec.method]
    model, figures = tune(spec, parts, validation)
    _require_finite(model)
    nats = figures["validation/nats"]
    summary = {"seconds": time.perf_counter() - began, **figures, "validation/perplexity": float(np.exp(nats))}
    journal_tuning(context, summary)
    return FitResult(model, summary)


def _require_finite(model: MixtureLM) -> None:
    """Raise if a weight is not finite, because then no figure of the mixture would be a number."""
    try:
        json.dumps(model.facts(), allow_nan=False)
    except ValueError as error:
        names = ", ".join(model.names)
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


def _figures(parts: Sequence[Part], found: _Evidence, log_weights: np.ndarray) -> dict[str, float]:
    """Return the figures of a linear mixture with these log λ: one set for all tokens (P,), or one per token (T, P)."""
    nats_T = mixed_nats(found.nats_TP, log_weights)
    figures = _of_parts(parts, found.nats_TP) | {"validation/nats": float(nats_T.mean())}
    if not ngram_models(parts):
        return figures
    names = [part.name for part in parts]
    return figures | gain_figures(gains(names, found.length_T, nats_T, found.nats_TP, None), names)


def _linear(spec: MixtureSpec, parts: Sequence[Part], validation: TokenStream) -> tuple[MixtureLM, dict[str, float]]:
    found = _evidence(parts, validation, spec.tuning_tokens)
    weights_P, rounds = em(found.nats_TP)
    fixed = Fixed(weights_P)
    figures = _figures(parts, found, fixed.log_weights_P) | _rounds(rounds, ROUNDS)
    return LinearMixture(parts, fixed), figures | _named("weight", parts, weights_P)


def _gated(spec: MixtureSpec, parts: Sequence[Part], validation: TokenStream) -> tuple[MixtureLM, dict[str, float]]:
    weighting = ContextWeights.untrained(parts)
    found = _evidence(parts, validation, spec.tuning_tokens, weighting)
    weights_P, _ = em(found.nats_TP)
    weighting, rounds = fit_context_weights(weighting, found.nats_TP, found.features_TF, weights_P, spec.ridge)
    log_weights_TP = weighting.log_weights(found.features_TF)
    fixed = float(mixed_nats(found.nats_TP, Fixed(weights_P).log_weights_P).mean())
    figures = _figures(parts, found, log_weights_TP) | _rounds(rounds, STEPS)
    figures["validation/perplexity_linear"] = float(np.exp(fixed))
    return LinearMixture(parts, weighting), figures | _named("mean_weight", parts, np.exp(log_weights_TP).mean(0))


def _log_linear(
    spec: MixtureSpec, parts: Sequence[Part], validation: TokenStream
) -> tuple[MixtureLM, dict[str, float]]:
    models = [part.model for part in parts]
    room = max(1, ENTRIES // (len(parts) * models[0].vocabulary_size))
    logp_PNV, targets_N = _distributions(models, validation, min(room, spec.tuning_tokens))
    exponents_P, steps = fit_exponents(logp_PNV, targets_N, np.full(len(parts), 1.0 / len(parts)))
    nats_TP = -logp_PNV[:, torch.arange(len(targets_N)), targets_N].T.double().numpy()
    nats = slope(logp_PNV, targets_N, exponents_P).value
    figures = _of_parts(parts, nats_TP) | {"validation/nats": nats} | _rounds(steps, log_linear.STEPS)
    model = LogLinearMixture(parts, exponents_P)
    if ngram_models(parts):  # measured on whole reviews with about as many tokens
        figures |= gain_figures(gain_table(model, validation, len(targets_N)), model.names)
    return model, figures | _named("exponent", parts, exponents_P)


def _rounds(rounds: int, most: int) -> dict[str, float]:
    return {"rounds": float(rounds), "converged": float(rounds < most)}


def _distributions(
    models: Sequence[LanguageModel], validation: TokenStream, positions: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return whole distributions before at most *positions* held-out tokens (P, N, V'), and the observed words (N,).

    If there are more tokens, a few consecutive tokens are taken from each of many reviews, at different places in them.
    V' leaves out the ids that are never predicted.

    Raises:
        ModelError: kind "input": there is no held-out token, or a part gives a word probability 0.
    """
    predicted = torch.tensor([token for token in range(models[0].vocabulary_size) if token not in CONTEXT_IDS])
    column_V = torch.full((models[0].vocabulary_size,), -1).scatter(0, predicted, torch.arange(len(predicted)))
    windows = list(_windows(validation, positions))
    targets_N = np.concatenate([np.zeros(0, np.int64), *(ids_T[begin:end] for ids_T, begin, end in windows)])
    targets_N = targets_N[~np.isin(targets_N, sorted(CONTEXT_IDS))]
    if not len(targets_N):
        raise ModelError(NO_TOKEN, "input")
    logp_PNV, at = torch.empty(len(models), len(targets_N), len(predicted)), 0
    for ids_T, begin, end in windows:
        # Read the tokens before the window without their distributions, which cost most of the time.
        states = [model.score(ids_T[None, : begin - 1], model.start(1))[1] for model in models]
        for t in range(begin, end):
            pairs = [model.step(ids_T[t - 1 : t], own) for model, own in zip(models, states, strict=True)]
            states = [after for _, after in pairs]
            if ids_T[t] in CONTEXT_IDS:
                continue
            for i, (logp_1V, _) in enumerate(pairs):
                logp_PNV[i, at] = logp_1V.cpu()[0, predicted]
            if not torch.isfinite(logp_PNV[:, at]).all():
                raise ModelError(IMPOSSIBLE, "input")
            at += 1
    return logp_PNV, column_V[torch.from_numpy(targets_N)]


def _windows(stream: TokenStream, positions: int) -> Iterator[tuple[np.ndarray, int, int]]:
    """Yield the ids of reviews with begin and end of the positions to use, at most *positions* in total."""
    count, width = len(stream), len(stream.ids)
    if len(stream.ids) > positions:
        count = min(len(stream), max(1, positions // WINDOW))
        width = positions // count
    for number in range(count):
        ids_T = np.asarray(stream.document(number * len(stream) // count)).astype(np.int64)
        # Multiples of the golden section, modulo 1, are spread evenly over the reviews' lengths.
        begin = 1 + int(number * GOLDEN % 1.0 * max(0, len(ids_T) - width))
        yield ids_T, begin, min(begin + width, len(ids_T))


def _of_parts(parts: Sequence[Part], nats_TP: np.ndarray) -> dict[str, float]:
    perplexity_P = np.exp(nats_TP.mean(0))
    return {"tokens": float(len(nats_TP))} | _named("validation/perplexity_of", parts, perplexity_P)


def _named(what: str, parts: Sequence[Part], values_P: np.ndarray) -> dict[str, float]:
    return {f"{what}/{part.name}": float(value) for part, value in zip(parts, values_P, strict=True)}
