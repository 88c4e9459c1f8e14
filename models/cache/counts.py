"""Count n-grams in the last tokens of a stream, for the cache model (`models/cache/lm.py`).

Shapes: see `models/base.py`; K tokens are remembered at most, L = K + T.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

NONE = -1
"""Id of an empty place in the cache."""
PAIRS = 1 << 22
"""Maximum number of comparisons of a token with a remembered token in memory at a time."""


def levels(recent_BK: np.ndarray, order: int) -> list[np.ndarray]:
    """Return for k = 1 … n which remembered tokens followed the last k − 1 tokens of the stream; (B, K) bool."""
    row_BK = recent_BK != NONE
    rows = [row_BK]
    for back in range(1, order):
        newest_B1 = recent_BK[:, recent_BK.shape[1] - back, None]
        before_BK = np.full_like(recent_BK, NONE)
        before_BK[:, back:] = recent_BK[:, : recent_BK.shape[1] - back]
        row_BK = row_BK & (before_BK == newest_B1) & (newest_B1 != NONE)
        rows.append(row_BK)
    return rows


def counts(
    keys_BL: np.ndarray, since_BL: np.ndarray, window: int, order: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Count each of the last T tokens, L = K + T, in the K tokens before it.

    Returns:
        For k = 1 … n: how often the token followed its last k − 1 tokens there, and how often any token did; (B, T).
    """
    batch, length = keys_BL.shape
    tokens = length - window
    seen, number = (np.zeros((order, batch, tokens)) for _ in range(2))
    width = max(1, PAIRS // max(1, batch * window))
    windows_BSK = sliding_window_view(keys_BL, window, axis=1)
    for first in range(0, tokens, width):
        some = slice(first, min(first + width, tokens))
        start_C = np.arange(some.start, some.stop)
        # Tokens before the document's begin are not remembered.
        hidden_BCK = start_C[:, None] + np.arange(window) < since_BL[:, start_C + window, None]
        recent_NK = np.where(hidden_BCK, NONE, windows_BSK[:, some]).reshape(-1, window)
        target_N1 = keys_BL[:, start_C + window].reshape(-1, 1)
        for k, row_NK in enumerate(levels(recent_NK, order)):
            number[k, :, some] = row_NK.sum(1).reshape(batch, -1)
            seen[k, :, some] = (row_NK & (recent_NK == target_N1)).sum(1).reshape(batch, -1)
    return list(seen), list(number)
