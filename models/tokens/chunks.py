"""Split texts at spaces into chunks, so that each distinct chunk is folded, cut and looked up only once.

Words repeat: of the chunks of 1,000 reviews, about one in seven is new. The split is at a space between two printable
ASCII characters, and the space belongs to the chunk after it. So no piece of a text is in two chunks if its rule for
pieces (a regular expression) has a space only as the first character of a piece. The same holds for rules about single
characters and letters of one word, such as folding.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl

SPACE, PRINTABLE = ord(" "), 94
COMPATIBLE = pl.CompatLevel.oldest()


class Chunks(NamedTuple):
    """The N chunks of D texts, M of them distinct.

    Attributes:
        distinct: The distinct chunks, those of ASCII first; the chunks of a text, joined, are the text.
        code_N: Index of each chunk in `distinct`.
        offsets: Where the chunks of each text begin, and the end (D+1, int64).
    """

    distinct: pl.Series
    code_N: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, texts: pl.Series, whole_D: np.ndarray | None = None) -> Chunks:
        """Split texts without nulls; texts in the mask *whole_D* are one chunk."""
        array = texts.to_arrow(compat_level=COMPATIBLE)
        starts = np.frombuffer(array.buffers()[1], np.int64)[array.offset :][: len(array) + 1]
        size = int(starts[-1] - starts[0])
        if not size:
            return cls(texts.clear(), np.zeros(0, np.int64), np.zeros(len(array) + 1, np.int64))
        data, starts = array.buffers()[2].slice(starts[0], size), starts - starts[0]
        whole_D = np.zeros(len(texts), bool) if whole_D is None else whole_D
        dictionary, codes_N, offsets = _split(data, starts, whole_D)
        distinct = pl.Series(texts.name, dictionary, dtype=pl.String)
        order = np.argsort((distinct.str.len_bytes() != distinct.str.len_chars()).to_numpy(), kind="stable")
        return cls(distinct.gather(order), np.argsort(order)[codes_N], offsets)

    @classmethod
    def single(cls, texts: pl.Series) -> Chunks:
        """Return each text as one chunk."""
        return cls(texts, np.arange(len(texts)), np.arange(len(texts) + 1))

    def counts(self, some_N: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return how often each distinct chunk occurs (M, int64), among *some_N* of all chunks."""
        return np.bincount(self.code_N[some_N], minlength=len(self.distinct))

    def texts_with(self, some_M: np.ndarray) -> np.ndarray:
        """Return which texts have one of *some_M* of the distinct chunks (D,)."""
        return np.diff(np.concatenate([[0], np.cumsum(some_M[self.code_N])])[self.offsets]) > 0

    def pieces(self, widths_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the pieces of all texts, and the number of pieces of each text (D, int64).

        Args:
            widths_M: Number of pieces of each distinct chunk.

        Returns:
            Indices into the pieces of all distinct chunks, one chunk after another.
        """
        widths_M = widths_M.astype(np.int64)
        widths_N = widths_M[self.code_N]
        ends = np.concatenate([[0], np.cumsum(widths_N)])
        starts_N = (np.cumsum(widths_M) - widths_M)[self.code_N]
        return np.repeat(starts_N - ends[:-1], widths_N) + np.arange(ends[-1]), np.diff(ends[self.offsets])


def _split(data: Any, starts: np.ndarray, whole_D: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray]:
    """Split the bytes of texts that begin at *starts*.

    Returns:
        The distinct chunks as an Arrow array, in the order in which they first appear; the index of each chunk in it
        (N,); where the chunks of each text begin, and the end (D + 1,).
    """
    import pyarrow as pa

    bytes_B = np.frombuffer(data, np.uint8)
    printable_B = bytes_B - np.uint8(SPACE + 1) < PRINTABLE  # wraps around below
    begins_B = bytes_B == SPACE
    begins_B[1:] &= printable_B[:-1]
    begins_B[:-1] &= printable_B[1:]
    if whole_D.any():
        begins_B &= ~np.repeat(whole_D, np.diff(starts))
    some_D = np.diff(starts) > 0
    begins_B[starts[1:][some_D] - 1] = False
    begins_B[starts[:-1][some_D]] = True
    bounds = np.append(np.flatnonzero(begins_B), len(bytes_B))
    chunks = pa.LargeStringArray.from_buffers(len(bounds) - 1, pa.py_buffer(bounds), data).dictionary_encode()
    return chunks.dictionary, np.frombuffer(chunks.indices.buffers()[1], np.int32), np.searchsorted(bounds, starts)
