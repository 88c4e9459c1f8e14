"""Compute the similarity sums of the continuous cache (`neural_cache.py`), each position against the earlier ones.

Shapes: see `models/base.py`; at most K tokens remembered, L = K + T, S values of θ, W windows, C positions compared
at a time with M remembered ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from .counts import NONE

PAIRS = 1 << 22
"""Pairs of current and remembered features that are in memory at a time."""
WIDTH = 256
"""Positions compared at a time: their remembered tokens overlap."""


@dataclass(frozen=True)
class CacheMemory:
    """The tokens that T positions of B streams may look back at. Position t is at index K + t of L = K + T.

    Args:
        keys_BL: Ids; NONE for tokens that are never remembered.
        since_BL: For each position the first index that it remembers.
        features_BLE: Row [b, l] predicted keys_BL[b, l].
    """

    keys_BL: np.ndarray
    since_BL: np.ndarray
    features_BLE: Tensor


@torch.no_grad()
def cache_nats(
    memory: CacheMemory, query_BTE: Tensor, thetas: Sequence[float], windows: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Compare the features of T positions with the remembered ones, some positions at a time.

    Args:
        memory: The tokens to look back at; L = K + T.
        query_BTE: Features of the positions.
        thetas: S values of θ.
        windows: W window lengths, rising.

    Returns:
        −log p_cache of the token at each position (S, W, B, T), float64: infinite if that token is not remembered, NaN
        if no token is; and the number of tokens remembered there (W, B, T).
    """
    batch, tokens, _ = query_BTE.shape
    before = memory.keys_BL.shape[1] - tokens
    nats = np.zeros((len(thetas), len(windows), batch, tokens))
    number = np.zeros((len(windows), batch, tokens), np.int64)
    at = 0
    while at < tokens:
        room = PAIRS // max(1, batch * min(before + tokens, windows[-1] + WIDTH))
        end = min(tokens, at + max(1, min(WIDTH, room)))
        place_C = np.arange(before + at, before + end)
        first = max(0, before + at - windows[-1])
        hits_SWBC, totals_SWBC = _sums(
            memory, query_BTE[:, at:end], thetas, windows, place_C, first, number[..., at:end]
        )
        with np.errstate(invalid="ignore"):
            nats[..., at:end] = totals_SWBC - hits_SWBC
        at = end
    return nats, number


def _sums(
    memory: CacheMemory, query_BCE: Tensor, thetas: Sequence[float], windows: Sequence[int], place_C: np.ndarray,
    first: int, number_WBC: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return log Σ exp(θ h · h_i) over remembered tokens equal to the one at each place, and over all (S, W, B, C).

    The number of remembered tokens is written to number_WBC. Each window adds its share beyond the window before it.
    """
    features_BME = memory.features_BLE[:, first : place_C[-1]]
    keys_BM, place_M = memory.keys_BL[:, first : place_C[-1]], np.arange(first, place_C[-1])
    likeness_BCM = torch.bmm(query_BCE, features_BME.transpose(1, 2))
    open_BCM = (keys_BM != NONE)[:, None] & (place_M >= memory.since_BL[:, place_C][..., None])
    same_BCM = torch.from_numpy(keys_BM[:, None] == memory.keys_BL[:, place_C][..., None]).to(likeness_BCM.device)
    distance_CM = place_C[:, None] - place_M
    shape = len(thetas), len(windows), *likeness_BCM.shape[:2]
    hits, totals = np.full(shape, -np.inf), np.full(shape, -np.inf)
    for w, (low, high) in enumerate(pairwise((0, *windows))):
        band_BCM = open_BCM & (distance_CM > low) & (distance_CM <= high)
        number_WBC[w] = band_BCM.sum(2) + (number_WBC[w - 1] if w else 0)
        shut_BCM = torch.from_numpy(~band_BCM).to(likeness_BCM.device)
        highest_BC1 = _highest(likeness_BCM, shut_BCM)
        for s, theta in enumerate(thetas):
            log_sums = _log_sums(theta, likeness_BCM - highest_BC1, highest_BC1[..., 0], shut_BCM, same_BCM)
            for sums, log_sum in zip((hits, totals), log_sums, strict=True):
                sums[s, w] = np.logaddexp(sums[s, w - 1], log_sum) if w else log_sum
    return hits, totals


def _highest(likeness_BCM: Tensor, shut_BCM: Tensor) -> Tensor:
    """Return the highest similarity among entries that are not masked (B, C, 1), 0 where all are masked."""
    if not likeness_BCM.shape[2]:
        return likeness_BCM.new_zeros(*likeness_BCM.shape[:2], 1)
    highest_BC1 = likeness_BCM.masked_fill(shut_BCM, -torch.inf).amax(2, keepdim=True)
    return highest_BC1.masked_fill_(shut_BCM.all(2, keepdim=True), 0.0)


def _log_sums(
    theta: float, below_BCM: Tensor, highest_BC: Tensor, shut_BCM: Tensor, same_BCM: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Return log Σ exp(θ similarity) over equal tokens, and over all; (B, C) float64, −∞ where there is none.

    Args:
        theta: θ. No product overflows for any θ, since the highest similarity is subtracted before the multiplication.
        below_BCM: Similarity minus the highest one.
        highest_BC: The highest similarity that is not masked.
        shut_BCM: True for tokens that are not remembered.
        same_BCM: True for tokens equal to the one at the position.
    """
    weight_BCM = (theta * below_BCM).masked_fill_(shut_BCM, -torch.inf).exp_()
    all_BC, same_BC = weight_BCM.sum(2), (weight_BCM * same_BCM).sum(2)
    shift_BC = theta * highest_BC.double()
    same_BC, all_BC = (sum_BC.double().log() + shift_BC for sum_BC in (same_BC, all_BC))
    return same_BC.cpu().numpy(), all_BC.cpu().numpy()
