"""Find the nearest vectors to one by cosine, exactly: all are compared, a block at a time.

    cos(q, x) = q · x / (‖q‖ ‖x‖)

A vector of zeros has the cosine 0 to every other.
Shapes: N vectors, F features, K neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..base import ModelError

BLOCK = 8_192
"""Vectors that are in memory at a time."""


def unit(matrix_NF: np.ndarray) -> np.ndarray:
    """Return the vectors, scaled to length 1 (float32); a vector of zeros stays."""
    rows_NF = np.asarray(matrix_NF, np.float32)
    lengths_N1 = np.linalg.norm(rows_NF, axis=1, keepdims=True)
    return np.asarray(rows_NF / np.where(lengths_N1 > 0, lengths_N1, 1), np.float32)


def cosines(query_F: np.ndarray, matrix_NF: np.ndarray) -> np.ndarray:
    """Return the cosine of each vector to the query (N, float32).

    Args:
        matrix_NF: The vectors, perhaps a memory map.

    Raises:
        ModelError: kind "input": the vectors have another number of features than the query.
    """
    if matrix_NF.shape[1:] != query_F.shape:
        raise ModelError(f"a query of shape {query_F.shape} cannot be compared with {matrix_NF.shape}", "input")
    unit_F, found_N = unit(query_F[None])[0], np.zeros(len(matrix_NF), np.float32)
    for first in range(0, len(matrix_NF), BLOCK):
        found_N[first : first + BLOCK] = unit(matrix_NF[first : first + BLOCK]) @ unit_F
    return found_N


def nearest_rows(cosines_N: np.ndarray, k: int, without: Sequence[int] = ()) -> np.ndarray:
    """Return the numbers of the k largest cosines, the largest first; of equal ones the first.

    Args:
        k: Number of vectors; fewer are returned where there are not so many.
        without: Numbers of vectors that are left out.
    """
    allowed_M = np.setdiff1d(np.arange(len(cosines_N)), np.asarray(without, np.int64))
    return allowed_M[np.argsort(-cosines_N[allowed_M], kind="stable")[: max(0, k)]]
