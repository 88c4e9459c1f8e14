"""Define the result of a smoothing method (log p, back-off weights, discounts), and compute discounts.

The discounts from counts of counts are here because several methods use them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

FALLBACK = (0.5, 1.0, 1.5)


@dataclass(frozen=True)
class Discounts:
    """The discounts of one order.

    Args:
        values: D(0) = 0, D1, D2, D3+ in units of a count.
        counts_of_counts: n1, n2, n3, n4.
        fallback: Whether the fallback was used, because the counts of counts did not determine the discounts.
    """

    values: tuple[float, float, float, float]
    counts_of_counts: tuple[int, int, int, int]
    fallback: bool = False


@dataclass(frozen=True)
class Estimate:
    """Natural logs, one entry per n-gram of each order, with the method's parameters.

    Args:
        logp: log p of orders 1 … N; −inf for given ids.
        backoff: log γ of orders 1 … N − 1.
        discounts: Discounts per order, for methods that have them.
        facts: Other parameters by name, e.g. "weight/2" (of order 2).
        fallbacks: Order → name of the fallback, if the counts did not determine the method's own parameters.
    """

    logp: tuple[np.ndarray, ...]
    backoff: tuple[np.ndarray, ...]
    discounts: tuple[Discounts, ...] = ()
    facts: Mapping[str, float] = field(default_factory=dict)
    fallbacks: Mapping[int, str] = field(default_factory=dict)


def order_discounts(
    n: tuple[int, int, int, int], smoothing: str, fallback: Sequence[float] = FALLBACK, kenlm_exact: bool = False
) -> Discounts:
    """Return the discounts that the counts of counts n1 … n4 determine, or the fallback if they do not.

    Modified (Chen and Goodman 1999, equation 26): Y = n1 / (n1 + 2 n2), Dj = j − (j + 1) Y n(j+1) / nj for
    j = 1, 2, 3+. Plain (Ney et al. 1994): D = Y for every count. A discount of 0 or below would leave nothing for
    unseen words; a discount above j would make a probability negative. Both count as not determined.

    Args:
        n: n1, n2, n3, n4.
        smoothing: "modified_kneser_ney" or "kneser_ney".
        fallback: D1, D2, D3+ (plain Kneser–Ney takes D1).
        kenlm_exact: Accept modified discounts of exactly 0, as `lmplz` does, which refuses only negative ones. If all
            followers of a context have a count with discount 0, then γ = 0, and words not seen after this context have
            probability 0. Whether a discount is negative is computed in float32, as in `lmplz`.
    """
    values = _modified(n, kenlm_exact) if smoothing == "modified_kneser_ney" else _plain(n)
    if values is not None:
        return Discounts((0.0, *values), n)
    d1, d2, d3 = fallback if smoothing == "modified_kneser_ney" else (fallback[0],) * 3
    return Discounts((0.0, d1, d2, d3), n, fallback=True)


def _plain(n: tuple[int, int, int, int]) -> tuple[float, float, float] | None:
    if n[0] == 0 or n[1] == 0:
        return None
    y = n[0] / (n[0] + 2 * n[1])
    return y, y, y


def _modified(n: tuple[int, int, int, int], kenlm_exact: bool) -> tuple[float, float, float] | None:
    if 0 in n[:3]:
        return None
    # Calculate in integers until the only division, so that a discount of exactly 0 is exactly 0.
    below = n[0] + 2 * n[1]
    d1, d2, d3 = ((j * below * n[j - 1] - (j + 1) * n[0] * n[j]) / (below * n[j - 1]) for j in (1, 2, 3))
    if kenlm_exact:
        return (max(d1, 0.0), max(d2, 0.0), max(d3, 0.0)) if _lmplz_takes(n) else None
    return (d1, d2, d3) if 0 < d1 <= 1 and 0 < d2 <= 2 and 0 < d3 <= 3 else None


def _lmplz_takes(n: tuple[int, int, int, int]) -> bool:
    """Return whether no discount is negative, with the rounding of `lmplz` (adjust_counts.cc)."""
    n_j = np.array([0, *n], np.float32)
    y = n_j[1] / np.float32(n[0] + 2 * n[1])
    amounts = [np.float32(j) - np.float32(j + 1) * y * n_j[j + 1] / n_j[j] for j in (1, 2, 3)]
    return all(amount >= 0 for amount in amounts)
