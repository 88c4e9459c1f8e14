"""Draw noise words in proportion to count^power: the alias method (Walker 1977), one random number a draw.

Each of N columns holds at most two words: its own with a probability, and its alias with the rest. A draw chooses a
column uniformly and then one of its two words, so that it costs the same for any number of words.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ONE = 1 << 32
"""The threshold that stands for probability 1; a kernel compares it with 32 random bits."""


@dataclass(frozen=True)
class NoiseTable:
    """Alias table of N words.

    Attributes:
        threshold_N: Column n gives word n if 32 random bits are below this number (int64).
        alias_N: The word that it gives otherwise (int32).
    """

    threshold_N: np.ndarray
    alias_N: np.ndarray


def noise_share(counts_N: np.ndarray, power: float) -> np.ndarray:
    """Return count^power of each word, divided by the sum (N, float64)."""
    weight_N = np.asarray(counts_N, np.float64) ** power
    return np.asarray(weight_N / weight_N.sum())


def noise_table(counts_N: np.ndarray, power: float = 0.75) -> NoiseTable:
    """Return the alias table of words drawn in proportion to count^power."""
    share_N = noise_share(counts_N, power) * len(counts_N)
    own_N, alias_N = np.ones(len(share_N)), np.arange(len(share_N), dtype=np.int32)
    small, large = list(np.flatnonzero(share_N < 1)), list(np.flatnonzero(share_N >= 1))
    while small and large:
        low, high = small.pop(), large[-1]
        own_N[low], alias_N[low] = share_N[low], high
        share_N[high] -= 1.0 - share_N[low]
        if share_N[high] < 1:
            small.append(large.pop())
    return NoiseTable(np.rint(own_N * ONE).astype(np.int64), alias_N)
