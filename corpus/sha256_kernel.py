"""Compile the loop over texts around OpenSSL's SHA-256 with numba; `corpus.sha256` makes its functions known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from models.compiled import kernel

STATE_BYTES = 256
"""More than OpenSSL's SHA256_CTX, which has 112 bytes."""

_init: Any = types.ExternalFunction("SHA256_Init", types.intc(types.uintp))
_update: Any = types.ExternalFunction("SHA256_Update", types.intc(types.uintp, types.uintp, types.uintp))
_final: Any = types.ExternalFunction("SHA256_Final", types.intc(types.uintp, types.uintp))


def digests(prefix_P: np.ndarray, data_N: np.ndarray, offsets_D: np.ndarray, found_DB: np.ndarray) -> None:
    """Write the SHA-256 of a prefix with each of D texts.

    Args:
        prefix_P: Bytes of the prefix.
        data_N: Bytes of the texts, one after another.
        offsets_D: (D + 1,) where each text begins, and where the last one ends.
        found_DB: Place for the digests.
    """
    _digests(prefix_P, data_N, offsets_D, np.zeros(STATE_BYTES, np.uint8), found_DB)


@kernel
def _digests(prefix_P: Any, data_N: Any, offsets_D: Any, state: Any, found_DB: Any) -> None:
    prefix, data, context, found = prefix_P.ctypes.data, data_N.ctypes.data, state.ctypes.data, found_DB.ctypes.data
    for d in range(len(found_DB)):
        _init(context)
        _update(context, prefix, len(prefix_P))
        _update(context, data + offsets_D[d], offsets_D[d + 1] - offsets_D[d])
        _final(found + found_DB.shape[1] * d, context)
