"""Hold token sequences as rows of different lengths in one array, and pad them to batches.

The form is that of a token stream (`models/streams.py`), so memory-mapped ids can be passed without a copy.
Shapes: D rows, P positions of all of them, B rows of a batch, T positions of the longest of these, M positions of all
rows of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np

from ...base import ModelError
from ...streams import side_by_side
from ...tokens.special import STARS


class PaddedBatch(NamedTuple):
    """Sequences padded to one length: their numbers rows_B, ids_BT (0 in the padding), and lengths_B, all int64."""

    rows_B: np.ndarray
    ids_BT: np.ndarray
    lengths_B: np.ndarray


@dataclass(frozen=True)
class Rows:
    """Rows of ids of different lengths, some of them perhaps empty.

    Args:
        ids_P: Whole numbers, all rows one after another.
        offsets: The position where each begins, and the end (D + 1).

    Raises:
        ModelError: kind "input": no row, ids that are not whole numbers, offsets that do not fit.
    """

    ids_P: np.ndarray
    offsets: np.ndarray

    def __post_init__(self) -> None:
        ids_P = self.ids_P
        offsets = self.offsets
        if ids_P.ndim != 1 or not np.issubdtype(ids_P.dtype, np.integer):
            raise ModelError(
                f"ids are {ids_P.shape} of {ids_P.dtype}; one row of whole numbers is needed",
                "input",
            )

        if len(offsets) < 2:
            raise ModelError("there is no sequence", "input")
        if offsets[0] != 0 or offsets[-1] != len(ids_P) or bool((np.diff(offsets) < 0).any()):
            raise ModelError(
                f"offsets must rise from 0 to {len(ids_P)}, the number of ids", "input"
            )

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int] | np.ndarray]) -> Self:
        """Return rows given one by one; the errors are those of the class."""
        offsets = np.cumsum([0, *(len(ids) for ids in sequences)])
        parts = [np.asarray(ids) for ids in sequences if len(ids)]
        return cls(np.concatenate(parts) if parts else np.zeros(0, np.int64), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> np.ndarray:
        """Positions of each row (D)."""
        return np.diff(self.offsets)

    def positions(self, rows_B: np.ndarray) -> np.ndarray:
        """Return the indices in `ids_P` of all positions of the chosen rows, row after row."""
        lengths_B = self.lengths[rows_B]
        # A row's indices are those of the result, moved from where it begins there to where it begins in `ids_P`.
        begins_B = np.cumsum(lengths_B) - lengths_B
        moved_by_B = self.offsets[rows_B] - begins_B
        return np.repeat(moved_by_B, lengths_B) + np.arange(lengths_B.sum())

    def ids_of(self, rows_B: np.ndarray) -> np.ndarray:
        """Return the ids of the chosen rows, row after row."""
        ids_P = np.asarray(self.ids_P)
        begins = self.offsets[rows_B]
        ends = self.offsets[rows_B + 1]
        rows = [ids_P[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
        # The empty array gives the number format where no row is chosen.
        return np.concatenate([ids_P[:0], *rows])

    def require_ids(self, entries: int) -> None:
        """Refuse ids outside 0 … *entries* − 1.

        Raises:
            ModelError: kind "input"; names the sequence and the position.
        """
        if not len(self.ids_P):
            return
        low = int(self.ids_P.min())
        high = int(self.ids_P.max())
        if low < 0 or high >= entries:
            wrong = int(np.flatnonzero((self.ids_P < 0) | (self.ids_P >= entries))[0])
            problem = f"is not in the vocabulary, whose ids are 0 to {entries - 1}"
            raise ModelError(f"id {self.ids_P[wrong]} of {self.place(wrong)} {problem}", "input")

    def place(self, position: int) -> str:
        """Describe in words a position of `ids_P`."""
        row = int(np.searchsorted(self.offsets, position, side="right")) - 1
        return f"sequence {row}, position {position - self.offsets[row]}"


class Sequences(Rows):
    """Token sequences, none of them empty; arguments as those of `Rows`.

    Raises:
        ModelError: kind "input": as for `Rows`; an empty sequence (the message names it).
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        empty = np.flatnonzero(self.lengths == 0)
        if len(empty):
            raise ModelError(
                f"sequence {empty[0]} is empty ({len(empty)} of {len(self)} are): leave it out",
                "input",
            )

    def require(self, entries: int) -> None:
        """Refuse ids outside a vocabulary of *entries* entries, and star tokens, which reveal the answer.

        A review's stream begins with `<bos> <stars_k>`; `<stars_0>`, "unknown", is allowed.

        Raises:
            ModelError: kind "input"; names the sequence and the position.
        """
        self.require_ids(entries)
        rated = np.flatnonzero((self.ids_P > STARS[0]) & (self.ids_P <= STARS[-1]))
        if len(rated):
            first = int(rated[0])
            token = int(self.ids_P[first])
            what = f"id {token} of {self.place(first)} is <stars_{token - STARS[0]}>"
            raise ModelError(
                f"{what}, which gives the rating away: replace it by <stars_0>", "input"
            )

    def take(self, rows_B: np.ndarray) -> Sequences:
        """Return the chosen sequences, in the order given."""
        return Sequences(
            self.ids_of(rows_B), np.concatenate([[0], np.cumsum(self.lengths[rows_B])])
        )

    def batch(self, rows_B: np.ndarray) -> PaddedBatch:
        """Return the chosen sequences, one or more, side by side, in the order given, perhaps one of them repeated."""
        lengths_B = self.lengths[rows_B]
        inside_BT = np.arange(lengths_B.max()) < lengths_B[:, None]
        ids_BT = np.zeros(inside_BT.shape, np.int64)
        ids_BT[inside_BT] = self.ids_of(rows_B)
        return PaddedBatch(rows_B, ids_BT, lengths_B)

    def by_length(self, positions: int) -> Iterator[PaddedBatch]:
        """Yield all rows in batches of at most *positions* padded positions, or of one row; longest first.

        They are sorted by length, so that padding is short; the batch's `rows_B` has their numbers.
        """
        yield from map(self.batch, side_by_side(self.lengths, positions))
