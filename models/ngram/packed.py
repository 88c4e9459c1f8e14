"""Lay out the arrays of a model for compiled look-ups: one address instead of dozens of arrays.

numba unpacks every argument of every call: the 24 arrays of a model of order 5 took longer than the look-ups of a
sentence. Here a look-up takes one whole number, the address of an array of addresses. One compilation then serves all
orders and all types.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, Self

import numpy as np

from .lookup import Followers

_WHOLE = tuple(map(np.dtype, (np.uint16, np.uint32, np.uint64, np.int64)))
_REAL = tuple(map(np.dtype, (np.float32, np.float64)))


class Packed:
    """The arrays of a model and, at `address`, an array (int64) of where they are.

    It holds the order N, and then for each order k from 1 to N twelve numbers: address, bytes of an entry and number of
    entries of the words of order k + 1 (`Followers.word_M`), of their offsets (`first_C`), of log p of order k and of
    its back-off weights. The highest order has log p only; its other numbers are 0. `step_kernels.read` reads them.

    The addresses are right as long as this object is alive: it keeps the arrays. A copy, also in another process, has
    addresses of its own.

    Args:
        followers, logp, backoff: See `Tables`. Their arrays are contiguous, aligned, and of the types of `of`.
    """

    def __init__(
        self, followers: Sequence[Followers], logp: Sequence[np.ndarray], backoff: Sequence[np.ndarray]
    ) -> None:
        self._arrays = tuple(followers), tuple(logp), tuple(backoff)
        numbers = [len(logp)]
        for longer, logp_M, backoff_M in zip_longest(followers, logp, backoff):
            words = (None, None) if longer is None else (longer.word_M, longer.first_C)
            for array in (*words, logp_M, backoff_M):
                numbers += (0, 0, 0) if array is None else (array.ctypes.data, array.itemsize, len(array))
        self._numbers = np.array(numbers, np.int64)
        self.order, self.address = len(logp), int(self._numbers.ctypes.data)

    @classmethod
    def of(
        cls, followers: Sequence[Followers], logp: Sequence[np.ndarray], backoff: Sequence[np.ndarray]
    ) -> Self | None:
        """Return the arrays packed; None where compiled look-ups cannot read one as it is in memory."""
        whole = (array for order in followers for array in (order.word_M, order.first_C))
        readable = (_readable(array, kinds) for kinds, arrays in ((_WHOLE, whole), (_REAL, (*logp, *backoff)))
                    for array in arrays)  # fmt: skip
        return cls(followers, logp, backoff) if all(readable) else None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arrays


def _readable(array: np.ndarray, kinds: Sequence[np.dtype]) -> bool:
    return array.dtype in kinds and array.ndim == 1 and array.flags.c_contiguous and array.flags.aligned
