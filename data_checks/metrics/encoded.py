"""Convert texts to arrays of bytes, for work that is faster in one pass over all bytes than text by text."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

PIECE = 2 << 20


def pieces(texts: pl.Series, ended: bool = True) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield the texts in pieces of about `PIECE` bytes, so that arrays computed from a piece fit the processor's cache.

    Args:
        texts: Texts; a missing one counts as empty.
        ended: Whether to put a line break after each text.

    Yields:
        The number of the first text, the UTF-8 bytes of the piece's texts, and the position at which each text begins
        in these bytes, with the end (N+1).
    """
    filled = texts.fill_null("") if texts.null_count() else texts
    ends: np.ndarray = filled.str.len_bytes().cast(pl.Int64).cum_sum().to_numpy()
    cuts = np.flatnonzero(np.diff(ends // PIECE, prepend=-1)).tolist()
    if not ended:
        begins, codes = _bytes(filled)
        for first, last in zip(cuts, [*cuts[1:], len(texts)], strict=False):
            start = int(begins[first])
            yield first, codes[start : int(begins[last])], begins[first : last + 1] - start
        return
    for first, last in zip(cuts, [*cuts[1:], len(texts)], strict=False):
        begins, codes = _bytes(filled[first:last] + "\n")
        yield first, codes, begins


def _bytes(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the position at which each text begins, with the end (N+1), and the bytes of all texts."""
    _, offsets, codes = texts.to_arrow(compat_level=pl.CompatLevel.oldest()).buffers()
    begins = np.frombuffer(offsets, np.int64, len(texts) + 1)
    return begins, np.frombuffer(codes, np.uint8, int(begins[-1])) if begins[-1] else np.zeros(0, np.uint8)


def text_of(begins: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the number of the text that each position is in."""
    return np.searchsorted(begins, places, side="right") - 1
