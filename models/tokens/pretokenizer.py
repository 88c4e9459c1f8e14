r"""Cut a text into pieces before BPE or Unigram, and encode each distinct piece only once.

The cut is GPT-2's (Radford et al. 2019): a piece does not mix letters with digits or punctuation, and the last
character of a run of white space belongs to the word that follows. The second rule needs a look-ahead, which the
regular expressions of polars do not have. So `PATTERN` matches a run of two or more together with all that follows up
to the next white space. `SPLIT` also has boundaries at the beginning and the end of such a piece, so cutting the piece
alone gives the same result as cutting it in its text. (`\s`, `\p{L}` and `\p{N}` are the same characters in both
engines: see the tests.)
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from threading import Lock
from typing import Any

import numpy as np
import polars as pl
from tokenizers import Tokenizer, pre_tokenizers

from .chunks import Chunks

SPLIT = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""GPT-2's cut, for the `tokenizers` package."""
PATTERN = r"\s{2,}\S*|'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s"
"""The same cut without look-ahead, for polars; a run of white space includes the text that follows."""
TYPES = 1 << 19
"""Maximum number of cached pieces; above it, the cache is emptied."""
IDS = 1 << 22
"""Maximum number of ids of all cached pieces."""
LINES = 500
"""Number of new pieces that the tokenizer gets as one text."""
FEW = 2_000
"""Number of UTF-8 bytes up to which calling the tokenizer directly is faster."""


class PieceEncoder:
    """Encoder that cuts texts into pieces and looks them up; the tokenizer encodes every distinct piece only once.

    The ids are the same as the tokenizer's, because its own cut has all boundaries of `PATTERN`.

    Args:
        tokenizer: Tokenizer that cuts as `SPLIT` does and has one entry for a line break.
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

    def __reduce__(self) -> tuple[Any, ...]:
        return PieceEncoder, (self._tokenizer,)  # without the lock, and without what was learnt

    def _forget(self) -> None:
        self._seen = pl.Categorical(pl.Categories.random(physical=pl.UInt32))
        # The codes of a categorical exist as long as a series uses them. Code 0 is a piece that no text has.
        self._anchor = pl.Series([""]).cast(self._seen)
        self._starts, self._widths, self._ids = np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(0, np.int32)

    def __call__(self, texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of all texts, one after another (int32), and the number of ids of each text (int64)."""
        if int(texts.str.len_bytes().sum()) <= FEW:
            return joined(_ids(self._tokenizer, texts.to_list()))
        chunks = Chunks.of(texts)
        lists = chunks.distinct.str.extract_all(PATTERN)
        pieces = lists.filter(lists.list.len() > 0).explode()
        with self._lock:  # only one batch at a time may add new pieces
            if len(self._starts) > TYPES or len(self._ids) > IDS:
                self._forget()
            codes = pieces.cast(self._seen).to_physical().to_numpy()
            self._learn(codes, pieces)
            widths, starts, ids = self._widths[codes], self._starts[codes], self._ids
        ends = np.concatenate([[0], np.cumsum(widths)])
        of_chunk = ends[np.concatenate([[0], lists.list.len().cast(pl.Int64).cum_sum()])]
        index_N, lengths = chunks.pieces(np.diff(of_chunk))
        return gathered(ids, starts, widths)[index_N], lengths

    def _learn(self, codes: np.ndarray, pieces: pl.Series) -> None:
        """Encode the pieces that are not in the cache yet."""
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
        """Return ids and lengths of pieces that the tokenizer must cut again."""
        return joined(_ids(self._tokenizer, pieces))

    def _encode_whole(self, pieces: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return ids and lengths of pieces without a line break, as lines of a text: one text per piece is slower."""
        texts = ["\n".join([*pieces[start : start + LINES], ""]) for start in range(0, len(pieces), LINES)]
        ids, _ = joined(_ids(self._by_line, texts))
        end = self._by_line.encode("\n", add_special_tokens=False).ids[0]
        ends = np.flatnonzero(ids == end)
        return ids[ids != end], np.diff(ends, prepend=-1) - 1


def _ids(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def joined(lists: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return lists of ids as one array (int32), and the length of each list (int64)."""
    lengths = np.fromiter(map(len, lists), np.int64, len(lists))
    row = np.fromiter(chain.from_iterable(lists), np.int32, int(lengths.sum()))
    return row, lengths


def gathered(row: np.ndarray, starts: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Return the ranges of *row* that begin at *starts* and are *widths* long, one after another."""
    ends = np.cumsum(widths)
    return row[np.repeat(starts - (ends - widths), widths) + np.arange(ends[-1] if len(ends) else 0)]


def count_pieces(texts: Sequence[str]) -> pl.DataFrame:
    """Return the pieces of `SPLIT` in these texts: `piece`, `count`."""
    chunks = Chunks.of(pl.Series("piece", texts, dtype=pl.String))
    pieces = pl.DataFrame({"piece": chunks.distinct.str.extract_all(PATTERN), "count": chunks.counts()})
    counts = pieces.explode("piece").drop_nulls("piece").group_by("piece").agg(pl.col("count").sum())
    # Runs of white space with the text that follows: cut off the last space, which belongs to the text or is alone.
    runs = pl.col("piece").str.contains(r"^\s{2,}\S")
    lead = pl.col("piece").str.extract(r"^(\s+)\s", 1)
    rest = pl.col("piece").str.extract(r"(\s\S+)$", 1).str.extract_all(PATTERN)
    cut = counts.filter(runs).select(piece=pl.concat_list(lead, rest), count="count")
    return pl.concat([counts.filter(~runs), cut.explode("piece")]).group_by("piece").agg(pl.col("count").sum())
