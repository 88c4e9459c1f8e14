"""Clean and sort reviews on workers, where they stay: only numbers about them come back.

    parts of the data set  ──►  cleaned rows, by slice  ──►  sorted slices  ──►  hash, file and rating of each review

The slices hold the same rows in the same order as those that `Slices` writes to the disk of one machine. The work of
this process grows with the parts and, by some 20 bytes, with the reviews.
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
from reviewlm.models.dataflow import Dataflow

SLICES_PER_WORKER = 2
MOST_SLICES = 1_024
"""Largest number of slices: each part of the data has a result for each."""


class SliceKeys(NamedTuple):
    """Numbers about the reviews of a slice (N,), in its order: both halves of the text's hash, file and rating."""

    high: np.ndarray
    low: np.ndarray
    file: np.ndarray
    stars: np.ndarray


@dataclass
class NodeSlice:
    """A sorted slice.

    Attributes:
        rows: Reference to its rows.
        rank: Their split.
        file: Number of the file of each review (N,).
        stars: Rating of each review (N,).
        hashes: Both halves of the hash of each text, until they are asked for.
    """

    rows: Any
    rank: int
    file: np.ndarray
    stars: np.ndarray
    hashes: tuple[np.ndarray, np.ndarray] | None


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

    def fill(
        self,
        parts: Iterable[tuple[np.ndarray, int]],
        clean: Cleaning,
        report: Callable[[int], None],
    ) -> CleanCounts:
        """Clean and sort reviews; return their counts.

        Args:
            parts: Bytes of Parquet files of typed reviews, each with the number of the source file.
            clean: The rules.
            report: Is told, again and again, how many reviews are done.
        """
        engine = self.engine
        cut = engine.put(partial(_clean_part, clean, self._rule))
        number = self._rule.slices
        made = [
            engine.submit(cut, engine.put(content), file, results=1 + number)
            for content, file in parts
        ]
        total = CleanCounts()
        for counts in engine.fetch(one[0] for one in made):
            total.update(counts)
            report(total.number("read"))

        ranks = np.repeat(np.arange(len(self._rule.counts)), self._rule.counts.astype(int))
        ordered = []
        for slot in range(number):
            ordered.append(engine.submit(_sort, *(one[1 + slot] for one in made), results=2))

        del made
        self._keep([(one[0], int(rank)) for one, rank in zip(ordered, ranks, strict=True)], ordered)
        return total

    def _keep(self, rows: list[tuple[Any, int]], ordered: list[list[Any]]) -> None:
        """Note the slices that are not empty."""
        self.slices = []
        keys_of = self.engine.fetch(one[1] for one in ordered)
        for (reference, rank), keys in zip(rows, keys_of, strict=True):
            if len(keys.high):
                hashes = keys.high, keys.low
                self.slices.append(NodeSlice(reference, rank, keys.file, keys.stars, hashes))

    def text_hashes(self) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
        """Return both halves of each text's hash in row order, and the rows where validation and train begin.

        Call it once, because it frees the memory of the hashes.
        """
        none = np.zeros(0, np.uint64)
        hashes = [one.hashes for one in self.slices if one.hashes]
        high = np.concatenate([none, *(pair[0] for pair in hashes)])
        low = np.concatenate([none, *(pair[1] for pair in hashes)])
        for one in self.slices:
            one.hashes = None

        before_validation = sum(len(one.file) for one in self.slices if one.rank < 1)
        before_train = sum(len(one.file) for one in self.slices if one.rank < 2)
        return high, low, (before_validation, before_train)

    def leave_out(self, first: np.ndarray) -> None:
        """Leave out some of the first rows, given by a mask."""
        if not first.any():
            return

        rows = []
        ordered = []
        mask = np.pad(first, (0, max(0, self.rows - len(first))))
        for one, gone in self.masked(mask):
            left = self.engine.submit(_leave_out, one.rows, gone, results=2)
            rows.append((left[0], one.rank))
            ordered.append(left)
        self._keep(rows, ordered)

    @property
    def rows(self) -> int:
        """Number of reviews."""
        return sum(len(one.file) for one in self.slices)

    def masked(self, values: np.ndarray) -> Iterator[tuple[NodeSlice, np.ndarray]]:
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


def _clean_part(clean: Cleaning, rule: SliceRule, content: np.ndarray, file: int) -> list[Any]:
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


def _sort(*parts: pl.DataFrame) -> tuple[pl.DataFrame, SliceKeys]:
    """Return the rows of a slice in their order, with their numbers; on a worker."""
    return _with_keys(pl.concat(parts).sort(ORDER).drop("place"))


def _leave_out(rows: pl.DataFrame, gone: np.ndarray) -> tuple[pl.DataFrame, SliceKeys]:
    """Return the rows of a slice that stay, with their keys; on a worker."""
    return _with_keys(rows.filter(pl.Series(~gone)))


def _with_keys(rows: pl.DataFrame) -> tuple[pl.DataFrame, SliceKeys]:
    columns = (rows[name].to_numpy() for name in ("text_high", "text_low", FILE, "stars"))
    return rows, SliceKeys(*columns)
