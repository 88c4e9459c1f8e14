r"""The cut of a text before BPE or Unigram, and encoding by pieces: each distinct piece once.

The cut is GPT-2's (Radford et al. 2019): no piece crosses from letters to digits or punctuation, and of a run of white
space the last character stands with the word that follows. The latter needs a look ahead, which the regular expressions
of polars do not have: `PATTERN` therefore takes a run of two or more together with all that follows up to the next
white space. At its end and at its beginning the cut of `SPLIT` has a boundary too, so each of our pieces is cut on its
own as in its text. (`\s`, `\p{L}` and `\p{N}` are the same characters in both engines: see the tests.)
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from threading import Lock

import numpy as np
import polars as pl
from tokenizers import Tokenizer, pre_tokenizers

SPLIT = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""GPT-2's cut, for the `tokenizers` package."""
PATTERN = r"\s{2,}\S*|'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s"
"""The same without a look ahead, for polars; a run of white space keeps what follows."""
TYPES = 1 << 19
"""Pieces that are remembered from batch to batch before all are forgotten."""
IDS = 1 << 22
"""Their ids, together."""
LINES = 500
"""New pieces that are handed to the tokenizer as one text."""
FEW = 2_000
"""Characters up to which the tokenizer itself is faster."""


class PieceEncoder:
    """Encodes texts by cutting them into pieces and looking those up; the tokenizer sees every distinct piece once.

    The ids are those of the tokenizer, since its own cut has all boundaries that `PATTERN` has.

    Args:
        tokenizer: Cuts as `SPLIT`, and has one entry for a line break.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self._lock = tokenizer, Lock()
        self._by_line = Tokenizer.from_str(tokenizer.to_str())
        lines = pre_tokenizers.Split("\n", "isolated")
        if isinstance(tokenizer.pre_tokenizer, pre_tokenizers.ByteLevel):
            byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
            self._by_line.pre_tokenizer = pre_tokenizers.Sequence([lines, byte_level])
        else:
            self._by_line.pre_tokenizer = lines
        self._forget()

    def _forget(self) -> None:
        self._seen = pl.Categorical(pl.Categories.random(physical=pl.UInt32))
        # The codes of a categorical last as long as some series has them. Code 0 is a piece that no text has.
        self._anchor = pl.Series([""]).cast(self._seen)
        self._starts, self._widths, self._ids = np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(0, np.int32)

    def __call__(self, texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of all texts in a row (int32) and how many each has (int64)."""
        if int(texts.str.len_bytes().sum()) <= FEW:
            return joined(_ids(self._tokenizer, texts.to_list()))
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
        new_pieces = pieces.gather(new[first])
        compound = new_pieces.str.contains(r"^\s{2,}|\n").to_numpy()
        for some, encode in ((compound, self._encode_cut), (~compound, self._encode_whole)):
            ids, widths = encode(new_pieces.filter(some).to_list())
            self._widths[unknown[some]] = widths
            self._starts[unknown[some]] = len(self._ids) + np.cumsum(widths) - widths
            self._ids = np.concatenate([self._ids, ids])

    def _encode_cut(self, pieces: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return ids and lengths of pieces that the tokenizer cuts again."""
        return joined(_ids(self._tokenizer, pieces))

    def _encode_whole(self, pieces: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return ids and lengths of pieces without a line break, as lines: a text for each would cost more than it."""
        texts = ["\n".join([*pieces[start : start + LINES], ""]) for start in range(0, len(pieces), LINES)]
        ids, _ = joined(_ids(self._by_line, texts))
        end = self._by_line.encode("\n", add_special_tokens=False).ids[0]
        ends = np.flatnonzero(ids == end)
        return ids[ids != end], np.diff(ends, prepend=-1) - 1


def _ids(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def joined(lists: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return lists of ids as one row (int32), and the length of each (int64)."""
    lengths = np.fromiter(map(len, lists), np.int64, len(lists))
    row = np.fromiter(chain.from_iterable(lists), np.int32, int(lengths.sum()))
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
