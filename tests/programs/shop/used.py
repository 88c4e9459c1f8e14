"""A kernel with a constant and a table, which a test changes."""

from __future__ import annotations

import numpy as np

from reviewlm.models.compiled import kernel

FACTOR = 2
TABLE = np.array([1.0, 2.0])


@kernel
def times(number: float) -> float:
    return FACTOR * number
