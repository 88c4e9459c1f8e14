r"""The cut of a text before BPE or Unigram, and encoding by pieces: each distinct piece once.

The cut is GPT-2's (Radford et al. 2019): no piece crosses from letters to digits or punctuation, and of a run of white
space the last character stands with the word that follows. The latter needs a look ahead, which the regular expressions
of polars do not have: `PATTERN` therefore takes a run of two or more together with all that follows up to the next
white space. At its end and at its beginning the cut of `SPLIT` has a boundary too, so each of our pieces is cut on its
own as in its text. (`\s`, `\p{L}` and `\p{N}` are the same characters in both engines: see the tests.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock

import numpy as np
import polars as pl

SPLIT = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""GPT-2's cut, for the `tokenizers` package."""
PATTERN = r"\s{2,}\S*|'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s"
"""The same without a look ahead, for polars; a run of white space keeps what follows."""
TYPES = 1 << 19
"""Pieces that are remembered from batch to batch before all are forgotten."""
IDS = 1 << 22
"""Their ids, together."""
FEW = 2_000
"""Characters up to which the tokenizer itself is faster."""


class PieceEncoder:
    """Encodes texts by cutting them into pieces and looking those up; the tokenizer sees every distinct piece once.

    The ids are those of the tokenizer, since its own cut has all boundaries that `PATTERN` has.

    Args:
        encode: Ids of each text of a list, by the tokenizer.
    """

    def __init__(self, encode: Callable[[list[str]], list[list[int]]]) -> None:
        self._encode, self._lock = encode, Lock()
        self._forget()

    def _forget(self) -> None:
        self._seen = pl.Categorical(pl.Categories.random(physical=pl.UInt32))
        # The codes of a categorical last as long as some series has them. Code 0 is a piece that no text has.
        self._anchor = pl.Series([""]).cast(self._seen)
        self._starts, self._widths, self._ids = np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(0, np.int32)

    def __call__(self, texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of all texts in a row (int32) and how many each has (int64)."""
        if int(texts.str.len_bytes().sum()) <= FEW:
            return joined(self._encode(texts.to_list()))
        lists = texts.str.extract_all(PATTERN)
        counts = lists.list.len().to_numpy().astype(np.int64)
        pieces = lists.filter(counts > 0).explode()
        with self._lock:  # one batch at a time learns new pieces
            if len(self._starts) > TYPES or len(self._ids) > IDS:
                self._forget()
            codes = pieces.cast(self._seen).to_physical().to_numpy()
            self._learn(codes, pieces)
            widths, starts, ids = self._widths[codes], self._starts[codes], self._ids
        ends = np.concatenate([[0], np.cumsum(widths)])
        of_text = ends[np.concatenate([[0], np.cumsum(counts)])]
        return gathered(ids, starts, widths), np.diff(of_text)

    def _learn(self, codes: np.ndarray, pieces: pl.Series) -> None:
        """Encode the pieces that are not known yet."""
        more = int(codes.max(initial=0)) + 1 - len(self._starts)
        self._starts = np.pad(self._starts, (0, max(more, 0)))
        self._widths = np.pad(self._widths, (0, max(more, 0)), constant_values=-1)
        new = np.flatnonzero(self._widths[codes] < 0)
        unknown, first = np.unique(codes[new], return_index=True)
        ids, widths = joined(self._encode(pieces.gather(new[first]).to_list()))
        self._widths[unknown] = widths
        self._starts[unknown] = len(self._ids) + np.cumsum(widths) - widths
        self._ids = np.concatenate([self._ids, ids])


def joined(lists: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return lists of ids as one row (int32), and the length of each (int64)."""
    lengths = np.fromiter(map(len, lists), np.int64, len(lists))
    row = np.fromiter((one for ids in lists for one in ids), np.int32, int(lengths.sum()))
    return row, lengths


def gathered(row: np.ndarray, starts: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Return the ranges of *row* that begin at *starts* and are *widths* long, one after another."""
    ends = np.cumsum(widths)
    return row[np.repeat(starts - (ends - widths), widths) + np.arange(ends[-1] if len(ends) else 0)]


def count_pieces(texts: Sequence[str]) -> pl.DataFrame:
    """Return the pieces of `SPLIT` in these texts: `piece`, `count`."""
    found = pl.Series("piece", texts, dtype=pl.String).str.extract_all(PATTERN).explode().drop_nulls()
    counts = found.to_frame().group_by("piece").agg(count=pl.len().cast(pl.Int64))
    # Runs of white space with what follows: the last character goes with it, or stands alone.
    runs = pl.col("piece").str.contains(r"^\s{2,}\S")
    lead = pl.col("piece").str.extract(r"^(\s+)\s", 1)
    rest = pl.col("piece").str.extract(r"(\s\S+)$", 1).str.extract_all(PATTERN)
    cut = counts.filter(runs).select(piece=pl.concat_list(lead, rest), count="count")
    return pl.concat([counts.filter(~runs), cut.explode("piece")]).group_by("piece").agg(pl.col("count").sum())
