"""Hash many texts with SHA-256 at once, without the interpreter's lock.

A compiled loop calls OpenSSL's functions, on which Python's hashlib is built. It takes 0.29 µs for a text of 500 bytes,
and the calls of hashlib, with a Python object for each text, 0.65. Where the functions cannot be called, as in a Python
with OpenSSL built in, hashlib does the work, with the same results.
"""

from __future__ import annotations

import ctypes
import hashlib
import sys
from collections.abc import Callable
from functools import cache

import numpy as np
import polars as pl

from corpus.duplicates.shingles import bytes_of

COMPILED_TEXTS = 1_000
"""For fewer texts, or where nothing else has imported numba, its import would take longer than hashlib."""
FUNCTIONS = ("SHA256_Init", "SHA256_Update", "SHA256_Final")
DIGEST_BYTES = 32


def sha256_of(texts: pl.Series, prefix: bytes = b"") -> np.ndarray:
    """Return the SHA-256 of the prefix with each text, (D, 32) uint8; none may be null."""
    if len(texts) >= COMPILED_TEXTS and "numba" in sys.modules and (digests := _compiled()):
        found = np.empty((len(texts), DIGEST_BYTES), np.uint8)
        digests(np.frombuffer(prefix, np.uint8), *bytes_of(texts), found)
        return found
    sha256 = hashlib.sha256
    joined = b"".join([sha256(prefix + text).digest() for text in texts.cast(pl.Binary).to_list()])
    return np.frombuffer(joined, np.uint8).reshape(-1, DIGEST_BYTES)


@cache
def _compiled() -> Callable[..., None] | None:
    """Return the compiled loop, or None if OpenSSL's functions cannot be called."""
    try:
        import _hashlib

        library = ctypes.CDLL(_hashlib.__file__)
        addresses = [ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in FUNCTIONS]
    except (ImportError, AttributeError, OSError):
        return None
    from llvmlite import binding
    from numba import config

    for name, address in zip(FUNCTIONS, addresses, strict=True):
        binding.add_symbol(name, address)  # before the loop is loaded, which looks the functions up by name
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return None
    from corpus import sha256_kernel

    return sha256_kernel.digests
