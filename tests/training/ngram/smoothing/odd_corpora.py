"""Corpora that an estimator meets seldom, as documents of token ids: small, empty, monotonous."""

from __future__ import annotations

import numpy as np

V = 24
"""Entries of the vocabulary that all of them use."""

ODD = {
    "no text": [],
    "one empty review": [[1, 3, 2]],
    "one review": [[1, 3, 9, 10, 11, 2]],
    "all the same": [[1, 8, 9, 10, 9, 2]] * 50,
    "one word again and again": [[1, 8, *[9] * 300, 2]],
    "only unknown words": [[1, 5, 0, 0, 0, 2]] * 7,
    "few characters": [[1, 5, *(9 + (np.arange(60) * k) % 3), 2] for k in range(50)],
    "fifty short reviews": [[1, 3 + k % 6, 9 + k % 15, 9 + k % 4, 2] for k in range(50)],
    "the whole vocabulary": [[1, 3, 0, *range(9, V), 2]] * 3,
}
