"""Plain text as n-gram programs read it: one sentence a line, `<s> w1 … wn </s>`, words between blanks.

This is the unit of KenLM and of ARPA files. Reviews come as token streams instead (`models/streams.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from ..base import ModelError

UNK, BEGIN, END = 0, 1, 2
MARKS = ("<unk>", "<s>", "</s>")
GIVEN_OF_LINES = (BEGIN,)
_SEPARATORS = "[\t\r\x00]"


@dataclass(frozen=True)
class LineCorpus:
    """Sentences as ids, laid end to end.

    Args:
        ids: `<s> w1 … wn </s> <s> …`, int32.
        offsets: Sentence i is ids[offsets[i] : offsets[i + 1]]; int64.
        words: Surface of every id: the three marks, then words in order of first appearance.
    """

    ids: np.ndarray
    offsets: np.ndarray
    words: tuple[str, ...] = field(repr=False)

    @classmethod
    def read(cls, lines: Iterable[str], words: Iterable[str] | None = None) -> LineCorpus:
        """Split lines at spaces, tabs, carriage returns and NUL; an empty line is the sentence without words.

        Args:
            lines: One sentence each, without the newline.
            words: The vocabulary to use; other words become `<unk>`. None makes one of the words that occur.

        Raises:
            ModelError: A line holds `<s>`, `</s>` or `<unk>` as a word.
        """
        split = pl.Series("words", list(lines), dtype=pl.String).str.replace_all(_SEPARATORS, " ").str.split(" ")
        split = split.list.eval(pl.element().filter(pl.element() != ""))
        lengths = split.list.len().to_numpy().astype(np.int64)
        flat = split.explode(empty_as_null=False) if lengths.sum() else pl.Series("words", [], dtype=pl.String)
        _refuse_marks(flat, lengths)
        known = tuple(words) if words is not None else (*MARKS, *flat.unique(maintain_order=True))
        offsets = np.concatenate([[0], np.cumsum(lengths + 2)])
        ids = np.full(offsets[-1], UNK, np.int32)
        ids[offsets[:-1]], ids[offsets[1:] - 1] = BEGIN, END
        inner = np.ones(len(ids), bool)
        inner[offsets[:-1]] = inner[offsets[1:] - 1] = False
        ids[inner] = flat.replace_strict(pl.Series(known), pl.Series(range(len(known))), default=UNK).to_numpy()
        return cls(ids, offsets, known)


def _refuse_marks(flat: pl.Series, lengths: np.ndarray) -> None:
    marked = flat.is_in(MARKS).to_numpy()
    if marked.any():
        at = int(np.flatnonzero(marked)[0])
        line = int(np.searchsorted(np.cumsum(lengths), at, side="right")) + 1
        raise ModelError(f"line {line}: the word {flat[at]!r} is a mark of the model, not text", kind="input")
