"""Clean and sort reviews on workers, where they stay: only numbers about them come back.

    parts of the data set  ──►  cleaned rows, by slice  ──►  sorted slices  ──►  file and rating of each review
                                                                  └─►  text hashes, by range  ──►  equal texts

The slices hold the same rows in the same order as those that `Slices` writes to the disk of one machine. The work of
this process grows with the parts and, by some 10 bytes, with the reviews.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from reviewlm.corpus.cleaning.clean_batch import FILE, CleanCounts, Cleaning, batches_of
from reviewlm.corpus.cleaning.clean_table import ORDER, SliceRule
from reviewlm.corpus.duplicates.exact import cut_ranges, first_equal, ranges_for
from reviewlm.models.dataflow import Dataflow, FilePiece

SLICES_PER_WORKER = 2
MOST_SLICES = 1_024
"""Largest number of slices: each part of the data has a result for each."""


class SliceFacts(NamedTuple):
    """Numbers about the reviews of a slice (N,), in its order: file and rating."""

    file: np.ndarray
    stars: np.ndarray


class HashRange(NamedTuple):
    """Text hashes of a slice in a range: both halves of each, and the place of the review in the slice."""

    high: np.ndarray
    low: np.ndarray
    place: np.ndarray


@dataclass
class NodeSlice:
    """A sorted slice.

    Attributes:
        rows: Reference to its rows.
        rank: Their split.
        file: Number of the file of each review (N,).
        stars: Rating of each review (N,).
        hashes: References to its `HashRange` of each range, until equal texts are asked for.
    """

    rows: Any
    rank: int
    file: np.ndarray
    stars: np.ndarray
    hashes: list[Any]


def slices_for(count: int, engine: Dataflow) -> int:
    """Return into how many slices to cut, if *count* would fit into memory."""
    return min(max(count, SLICES_PER_WORKER * engine.workers()), MOST_SLICES)


class NodeSlices:
    """Reviews that workers clean, sort and keep.

    Args:
        engine: Has the workers.
        rule: The cut into slices.
    """

    def __init__(self, engine: Dataflow, rule: SliceRule) -> None:
        self.engine = engine
        self.slices: list[NodeSlice] = []
        self._rule = rule
        self._ranges = ranges_for(engine.workers())

    def fill(
        self,
        parts: Iterable[tuple[FilePiece, int]],
        clean: Cleaning,
        report: Callable[[int], None],
    ) -> CleanCounts:
        """Clean and sort reviews; return their counts.

        Args:
            parts: Parquet files of typed reviews, each with the number of the source file.
            clean: The rules.
            report: Is told, again and again, how many reviews are done.
        """
        engine = self.engine
        cut = engine.put(partial(_clean_part, clean, self._rule))
        number = self._rule.slices
        made = [
            engine.submit(cut, engine.put_file(part), file, results=1 + number)
            for part, file in parts
        ]
        total = CleanCounts()
        for counts in engine.fetch(one[0] for one in made):
            total.update(counts)
            report(total.number("read"))

        ranks = np.repeat(np.arange(len(self._rule.counts)), self._rule.counts.astype(int))
        ordered = []
        for slot in range(number):
            sort = partial(_sort, self._ranges)
            pieces = (one[1 + slot] for one in made)
            ordered.append(engine.submit(sort, *pieces, results=2 + self._ranges))

        del made
        self._keep([(one[0], int(rank)) for one, rank in zip(ordered, ranks, strict=True)], ordered)
        return total

    def _keep(self, rows: list[tuple[Any, int]], ordered: list[list[Any]]) -> None:
        """Note the slices that are not empty."""
        self.slices = []
        facts_of = self.engine.fetch(one[1] for one in ordered)
        for (reference, rank), made, facts in zip(rows, ordered, facts_of, strict=True):
            if len(facts.file):
                self.slices.append(
                    NodeSlice(
                        reference,
                        rank,
                        facts.file,
                        facts.stars,
                        made[2:],
                    )
                )

    def equal_texts(self) -> tuple[np.ndarray, tuple[int, int]]:
        """Return the first row (N,) with the text of each, and the rows where validation and train begin.

        Only the rows that repeat another come back from the workers. Call it once, because it gives up the hashes.
        """
        starts = np.cumsum([0, *(len(one.file) for one in self.slices)])
        found = []
        for place in range(self._ranges):
            hashes = (one.hashes[place] for one in self.slices)
            found += self.engine.submit(partial(_find_equal, starts), *hashes)

        first = np.arange(starts[-1], dtype=np.uint32)
        for rows, firsts in self.engine.fetch(found):
            first[rows] = firsts
        for one in self.slices:
            one.hashes = []

        before_validation = sum(len(one.file) for one in self.slices if one.rank < 1)
        before_train = sum(len(one.file) for one in self.slices if one.rank < 2)
        return first, (before_validation, before_train)

    def leave_out(self, first: np.ndarray) -> None:
        """Leave out some of the first rows, given by a mask."""
        if not first.any():
            return

        rows = []
        ordered = []
        mask = np.pad(first, (0, max(0, self.rows - len(first))))
        for one, gone in self.split_values(mask):
            leave_out = partial(_leave_out, self._ranges)
            left = self.engine.submit(leave_out, one.rows, gone, results=2 + self._ranges)
            rows.append((left[0], one.rank))
            ordered.append(left)
        self._keep(rows, ordered)

    @property
    def rows(self) -> int:
        """Number of reviews."""
        return sum(len(one.file) for one in self.slices)

    def split_values(self, values: np.ndarray) -> Iterator[tuple[NodeSlice, np.ndarray]]:
        """Yield each slice with the values (N,) of its reviews, of those of all reviews."""
        start = 0
        for one in self.slices:
            stop = start + len(one.file)
            yield one, values[start:stop]
            start = stop

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """Yield the rows of all slices: through this process, so for few of them only."""
        for one in self.slices:
            yield from self.engine.fetch([one.rows])


def _clean_part(
    clean: Cleaning,
    rule: SliceRule,
    content: np.ndarray,
    file: int,
) -> list[Any]:
    """Return the counts of a part of the data, and its rows of each slice; on a worker."""
    total = CleanCounts()
    cleaned = []
    for batch in batches_of(pl.read_parquet(io.BytesIO(content.data)), file):
        rows, counts = clean(batch)
        cleaned.append(rows)
        total.update(counts)

    rows = pl.concat(cleaned)
    slices = rule.cut(rows)
    none = rows.clear()
    return [total, *(slices.get(slot, none) for slot in range(rule.slices))]


def _sort(ranges: int, *parts: pl.DataFrame) -> list[Any]:
    """Return the rows of a slice in their order, with their numbers; on a worker."""
    return _with_numbers(ranges, pl.concat(parts).sort(ORDER).drop("place"))


def _leave_out(
    ranges: int,
    rows: pl.DataFrame,
    gone: np.ndarray,
) -> list[Any]:
    """Return the rows of a slice that stay, with their numbers; on a worker."""
    return _with_numbers(ranges, rows.filter(pl.Series(~gone)))


def _with_numbers(ranges: int, rows: pl.DataFrame) -> list[Any]:
    """Return the rows of a slice, facts about them, and the hashes of each range."""
    high = rows["text_high"].to_numpy()
    low = rows["text_low"].to_numpy()
    hashes = []
    for places in cut_ranges(high, ranges):
        hashes.append(HashRange(high[places], low[places], places.astype(np.uint32)))
    return [rows, SliceFacts(rows[FILE].to_numpy(), rows["stars"].to_numpy()), *hashes]


def _find_equal(starts: np.ndarray, *slices: HashRange) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the rows whose text a row before has, and the first row with it; on a worker."""
    high = np.concatenate([np.zeros(0, np.uint64), *(one.high for one in slices)])
    low = np.concatenate([np.zeros(0, np.uint64), *(one.low for one in slices)])
    moved = (one.place + start for one, start in zip(slices, starts, strict=False))
    rows = np.concatenate([np.zeros(0, np.uint32), *moved]).astype(np.uint32)
    first = first_equal(high, low)
    again = np.flatnonzero(first != np.arange(len(first)))
    return [(rows[again], rows[first[again]])]
