"""Change a distribution by the sampling options, and draw from it by inversion of its distribution function.

Every row is treated alone, so a row's result does not depend on the rest of its batch.
Shapes: see `models/base.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import numpy as np
import torch

from ..base import ModelError
from ..sampling_options import Sampling
from ..tokens.special import EOS
from . import draw_kernels

NOT_NUMBERS = (
    "the model gives log-probabilities that are not numbers (NaN), so no token can be chosen"
)

NEARNESS_DIGITS = 4
"""Digits of nats in which typical-p compares how near surprises are to the entropy."""


def filter_tokens(
    logp_BV: torch.Tensor,
    never: torch.Tensor,
    sampling: Sampling,
    texts: Sequence[Sequence[int]] = (),
) -> torch.Tensor:
    """Return the distribution without some tokens, and with the options that depend on the text so far.

    A row without any other token gets `<eos>`.

    Args:
        logp_BV: Log-probabilities.
        never: Ids that are not written.
        sampling: Its repetition penalty and `no_repeat_ngram_size` take effect here.
        texts: The tokens of each row's text so far; only needed for these two options.
    """
    logp_BV = logp_BV.index_fill(1, never, -torch.inf)
    if sampling.looks_back:
        for row, text in enumerate(texts):
            _without_repeats(logp_BV[row], np.asarray(text, np.int64), sampling)
    logp_BV[:, EOS].masked_fill_(torch.isneginf(logp_BV.amax(1)), 0.0)
    return logp_BV


def _without_repeats(
    logp_V: torch.Tensor,
    text: np.ndarray,
    sampling: Sampling,
) -> None:
    """Write the penalised log-probabilities over one row."""
    if sampling.repetition_penalty != 1 and len(text):
        seen = torch.from_numpy(np.unique(text)).to(logp_V.device)
        logp_V[seen] *= sampling.factor
    size = sampling.no_repeat_ngram_size
    if 0 < size <= len(text):
        windows = np.lib.stride_tricks.sliding_window_view(text, size)
        repeats = (windows[:, :-1] == text[len(text) - size + 1 :]).all(1)
        logp_V[torch.from_numpy(windows[repeats, -1]).to(logp_V.device)] = -torch.inf


def among(logp_V: torch.Tensor, ids: Sequence[int]) -> torch.Tensor:
    """Return the distribution given that the token is one of some; if all are impossible, no token is possible."""
    chosen = torch.as_tensor(ids, dtype=torch.int64, device=logp_V.device)
    whole = torch.logsumexp(logp_V[chosen], 0)
    conditional_V = torch.full_like(logp_V, -torch.inf)
    conditional_V[chosen] = logp_V[chosen] - whole.masked_fill(torch.isneginf(whole), 0.0)
    return conditional_V


def sampled_logp(logp_BV: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Return log-probabilities after temperature, top-k, top-p, min-p and typical-p, in this order, normalised again.

    Entries that are as good as the last kept entry are kept too. Otherwise the choice between equal entries would
    depend on the device. Only temperature 0 and a top-k of 1 decide: they give probability 1 to the first of the best.

    Args:
        logp_BV: Log-probabilities, normalised or not.
    """
    size = logp_BV.shape[1]
    if sampling.greedy:
        positions = torch.arange(size, device=logp_BV.device)
        best_B1 = logp_BV.amax(1, keepdim=True)
        first_B1 = torch.where(logp_BV == best_B1, positions, size - 1).amin(1, keepdim=True)
        return torch.full_like(logp_BV, -torch.inf).scatter_(
            1, first_B1, best_B1.where(best_B1.isnan(), 0.0)
        )

    # Relative to the largest, so that no temperature can push all of them to -inf.
    logp_BV = torch.log_softmax((logp_BV - logp_BV.amax(1, keepdim=True)) / sampling.divisor, 1)
    if 0 < sampling.top_k < size:
        logp_BV = _keep(logp_BV, logp_BV >= logp_BV.topk(sampling.top_k).values[:, -1:])

    if sampling.top_p < 1:
        logp_BV = _keep(logp_BV, logp_BV >= _floor_of_share(logp_BV, logp_BV, sampling.top_p))

    if sampling.min_p > 0:
        logp_BV = _keep(logp_BV, logp_BV >= logp_BV.amax(1, keepdim=True) + log(sampling.min_p))

    if sampling.typical_p < 1:
        surprise_BV = -logp_BV
        entropy_B1 = (
            logp_BV.exp() * surprise_BV.masked_fill(torch.isposinf(surprise_BV), 0.0)
        ).sum(1, keepdim=True)
        # An entry above the entropy and one below can be equally near; all digits would let rounding choose.
        nearness_BV = -(surprise_BV - entropy_B1).abs().round(decimals=NEARNESS_DIGITS)
        logp_BV = _keep(
            logp_BV, nearness_BV >= _floor_of_share(nearness_BV, logp_BV, sampling.typical_p)
        )

    return logp_BV


def _keep(logp_BV: torch.Tensor, kept_BV: torch.Tensor) -> torch.Tensor:
    return torch.log_softmax(logp_BV.masked_fill(~kept_BV, -torch.inf), 1)


def _floor_of_share(
    merit_BV: torch.Tensor,
    logp_BV: torch.Tensor,
    share: float,
) -> torch.Tensor:
    """Return the merit of the last entry that is needed to reach a share of probability, best first (B, 1)."""
    ranked_BV, order_BV = merit_BV.sort(1, descending=True)
    ends_BV = logp_BV.gather(1, order_BV).exp().cumsum(1, dtype=torch.float64)
    needed_B1 = 1 + (ends_BV[:, :-1] < share).sum(1, keepdim=True)
    return ranked_BV.gather(1, needed_B1 - 1)


def pick(logp_BV: torch.Tensor, uniforms_B: np.ndarray) -> np.ndarray:
    """Return one token of each row (int64) by inversion of its cumulative distribution function.

    `torch.multinomial` is ten times slower on a [64, V] matrix, and its random stream depends on the batch.

    Args:
        logp_BV: Log-probabilities.
        uniforms_B: Numbers in [0, 1).

    Raises:
        ModelError: kind "bundle": a log-probability is not a number.
    """
    ends_BV = logp_BV.exp().cumsum(1, dtype=torch.float64)
    # An entry of probability 0 ends where the entry before it ends, so a search with "right" never returns it.
    shares_B = torch.as_tensor(uniforms_B, dtype=torch.float64, device=logp_BV.device)
    ids = torch.searchsorted(ends_BV, shares_B[:, None] * ends_BV[:, -1:], right=True)[:, 0]
    ids = ids.clamp(max=logp_BV.shape[1] - 1).masked_fill(ends_BV[:, -1].isnan(), -1)
    return require_drawn(ids.cpu().numpy())


def require_drawn(ids_B: np.ndarray) -> np.ndarray:
    """Return the drawn ids; raise ModelError (kind "bundle") where one is -1."""
    if (ids_B < 0).any():
        raise ModelError(NOT_NUMBERS, "bundle")
    return ids_B


def require_numbers(logp_BV: torch.Tensor) -> None:
    """Raise ModelError (kind "bundle") where a log-probability is not a number."""
    if bool(logp_BV.isnan().any()):
        raise ModelError(NOT_NUMBERS, "bundle")


def in_one_pass(logp_NV: torch.Tensor, sampling: Sampling) -> bool:
    """Return whether `draw` can draw from these distributions with these options."""
    return logp_NV.device.type == "cpu" and logp_NV.dtype == torch.float32 and sampling.cuts_only


def draw(
    logp_NV: torch.Tensor,
    never: torch.Tensor,
    sampling: Sampling,
    uniforms_N: np.ndarray,
) -> np.ndarray:
    """Return one id per row, drawn without some ids; `<eos>` where nothing else is possible.

    The id is that of `filters.pick` from the distribution of `filters.sampled_logp`, up to rounding.

    Args:
        logp_NV: Log-probabilities, normalised or not.
        never: Ids that are not drawn, ascending.
        sampling: Options for which `in_one_pass` holds.
        uniforms_N: Numbers in [0, 1).

    Raises:
        ModelError: kind "bundle": a log-probability is not a number.
    """
    ids_N = np.empty(logp_NV.shape[0], np.int64)
    inverse = np.float32(1 / sampling.divisor)
    cuts = min(sampling.top_k, logp_NV.shape[1]), float(sampling.top_p), float(sampling.min_p)
    draw_kernels.draw(
        logp_NV.contiguous().numpy(),
        never.numpy(),
        inverse,
        *cuts,
        uniforms_N,
        EOS,
        ids_N,
    )
    return require_drawn(ids_N)
