"""Fitting a mixture: its parts are ready, only their weights are tuned, on held-out text."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..base import FitContext, FitResult, LanguageModel, ModelError
from ..vocabulary import GIVEN
from .gate import Gate, fit_gate
from .lm import Fixed, LinearMixture
from .log_linear import fit_exponents, slope
from .log_linear_lm import LogLinearMixture
from .parts import Part, journal
from .spec import MixtureSpec
from .tuning import batches, token_nats
from .weights import em, mixed_nats

if TYPE_CHECKING:
    from ..streams import TokenStream

ENTRIES = 1 << 26
"""Log-probabilities of whole distributions held in memory while exponents are tuned: 256 MiB of float32."""
SIDE_BY_SIDE = 1 << 12
"""Positions whose distributions are collected at a time, at most."""


def fit_mixture(spec: MixtureSpec, parts: Sequence[Part], validation: TokenStream, context: FitContext) -> FitResult:
    """Tune the weights and say how good they make the mixture.

    The summary: seconds, held-out tokens it was tuned on, nats and perplexity of the mixture and of each part there (of
    a log-linear mixture on the fewer positions whose distributions fit in memory), weights, rounds. On that text no
    part is better than the mixture; how much better it is there flatters by as much as a few numbers can.
    """
    began = time.perf_counter()
    tune = {"linear": _linear, "gated": _gated, "log_linear": _log_linear}[spec.method]
    model, figures = tune(spec, parts, validation)
    nats = figures["validation/nats"]
    summary = {"seconds": time.perf_counter() - began, **figures, "validation/perplexity": float(np.exp(nats))}
    journal(context, summary)
    return FitResult(model, summary)


def _linear(
    spec: MixtureSpec, parts: Sequence[Part], validation: TokenStream
) -> tuple[LanguageModel, dict[str, float]]:
    models = [part.model for part in parts]
    nats_TP = np.concatenate([token_nats(models, batch) for batch in batches(validation, spec.tuning_tokens)])
    weights_P, rounds = em(nats_TP)
    fixed = Fixed(weights_P)
    nats = float(mixed_nats(nats_TP, fixed.log_weights_P).mean())
    found = _of_parts(parts, nats_TP) | {"validation/nats": nats, "rounds": float(rounds)}
    return LinearMixture(parts, fixed), found | _named("weight", parts, weights_P)


def _gated(spec: MixtureSpec, parts: Sequence[Part], validation: TokenStream) -> tuple[LanguageModel, dict[str, float]]:
    models = [part.model for part in parts]
    gate, nats_TP, features_TF = Gate.untrained(parts), [], []
    for batch in batches(validation, spec.tuning_tokens):
        nats_TP.append(token_nats(models, batch))
        states = tuple(model.start(len(batch.ids_BT)) for model in models)
        features_TF.append(gate.features(batch.ids_BT, states)[batch.scored_BT])
    all_TP, all_TF = np.concatenate(nats_TP), np.concatenate(features_TF)
    weights_P, _ = em(all_TP)
    gate, rounds = fit_gate(gate, all_TP, all_TF, weights_P, spec.ridge)
    nats = float(mixed_nats(all_TP, gate.log_weights(all_TF)).mean())
    fixed = float(mixed_nats(all_TP, Fixed(weights_P).log_weights_P).mean())
    found = _of_parts(parts, all_TP) | {"validation/nats": nats, "rounds": float(rounds)}
    found["validation/perplexity_linear"] = float(np.exp(fixed))
    mean_P = np.exp(gate.log_weights(all_TF)).mean(0)
    return LinearMixture(parts, gate), found | _named("mean_weight", parts, mean_P)


def _log_linear(
    spec: MixtureSpec, parts: Sequence[Part], validation: TokenStream
) -> tuple[LanguageModel, dict[str, float]]:
    models = [part.model for part in parts]
    room = max(1, ENTRIES // (len(parts) * models[0].vocabulary_size))
    logp_PNV, targets_N = _distributions(models, validation, min(room, spec.tuning_tokens))
    if not torch.isfinite(logp_PNV).all():
        raise ModelError(
            "a part calls some word impossible, and so would the whole log-linear mixture: smooth it, or mix linearly",
            "input",
        )
    exponents_P, steps = fit_exponents(logp_PNV, targets_N, np.full(len(parts), 1.0 / len(parts)))
    nats_TP = -logp_PNV[:, torch.arange(len(targets_N)), targets_N].T.double().numpy()
    nats = slope(logp_PNV, targets_N, exponents_P).value
    found = _of_parts(parts, nats_TP) | {"validation/nats": nats, "rounds": float(steps)}
    return LogLinearMixture(parts, exponents_P), found | _named("exponent", parts, exponents_P)


def _distributions(
    models: Sequence[LanguageModel], validation: TokenStream, positions: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return whole distributions before about so many held-out tokens (P, N, V'), and which word came (N,).

    V' leaves out the ids that are never predicted.
    """
    predicted = torch.tensor([token for token in range(models[0].vocabulary_size) if token not in GIVEN])
    column_V = torch.full((models[0].vocabulary_size,), -1).scatter(0, predicted, torch.arange(len(predicted)))
    found, targets = [], []
    for batch in batches(validation, positions, SIDE_BY_SIDE):
        states = [model.start(len(batch.ids_BT)) for model in models]
        for t in range(batch.ids_BT.shape[1] - 1):
            pairs = [model.step(batch.ids_BT[:, t], own) for model, own in zip(models, states, strict=True)]
            states = [after for _, after in pairs]
            rows = np.flatnonzero(batch.scored_BT[:, t + 1])
            if len(rows):
                found.append(torch.stack([logp_BV.cpu()[rows][:, predicted] for logp_BV, _ in pairs]))
                targets.append(column_V[torch.from_numpy(batch.ids_BT[rows, t + 1])])
    return torch.cat(found, 1), torch.cat(targets)


def _of_parts(parts: Sequence[Part], nats_TP: np.ndarray) -> dict[str, float]:
    perplexity_P = np.exp(nats_TP.mean(0))
    return {"tokens": float(len(nats_TP))} | _named("validation/perplexity_of", parts, perplexity_P)


def _named(what: str, parts: Sequence[Part], values_P: np.ndarray) -> dict[str, float]:
    return {f"{what}/{part.name}": float(value) for part, value in zip(parts, values_P, strict=True)}
