"""Print what a kernel that makes arrays computes, and whether numba has imported what it compiles with."""

from __future__ import annotations

import sys

import numpy as np

from .compiled import kernel


@kernel
def powers(numbers: np.ndarray) -> np.ndarray:
    return np.exp(numbers) * 2


print(powers(np.zeros(3)).sum(), "numba.typed.typeddict" in sys.modules)
