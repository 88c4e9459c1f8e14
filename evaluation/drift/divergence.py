"""Compute distances between two distributions given as counts, row by row; the last axis is the classes."""

from __future__ import annotations

import numpy as np

HALF = 0.5
"""Added to each class before a logarithm is taken (Jeffreys), so that an empty class gives no infinite figure."""


def population_stability(old_RC: np.ndarray, new_RC: np.ndarray) -> np.ndarray:
    """Return Σ (q − p) ln(q / p), the population stability index (symmetrised Kullback-Leibler divergence), per row."""
    p_RC, q_RC = shares(old_RC + HALF), shares(new_RC + HALF)
    return ((q_RC - p_RC) * np.log(q_RC / p_RC)).sum(axis=-1)


def jensen_shannon(old_RC: np.ndarray, new_RC: np.ndarray) -> np.ndarray:
    """Return the Jensen-Shannon divergence (Lin 1991) of the shares, in bits, per row: 0 for equal, 1 for disjoint."""
    return jensen_shannon_terms(shares(old_RC), shares(new_RC)).sum(axis=-1)


def jensen_shannon_terms(p_C: np.ndarray, q_C: np.ndarray) -> np.ndarray:
    """Return the contribution of each class to the divergence of the shares p and q, in bits."""
    middle = (p_C + q_C) / 2

    def part(x_C: np.ndarray) -> np.ndarray:
        return np.where(x_C > 0, x_C * np.log2(np.where(x_C > 0, x_C, 1) / np.where(middle > 0, middle, 1)), 0.0)

    return (part(p_C) + part(q_C)) / 2


def shares(counts_C: np.ndarray) -> np.ndarray:
    """Return the counts divided by their sum; zeros if the sum is 0."""
    return counts_C / np.maximum(counts_C.sum(axis=-1, keepdims=True), 1e-12)
