"""Drop reviews because others say the same: equal texts, near-duplicates, passages of train, crowds of copies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from reviewlm.core.config.sections.data import DuplicatesConfig
from reviewlm.corpus.account import Entry
from reviewlm.corpus.cleaning.clean_account import entry_of_crowd, entry_of_ratings
from reviewlm.corpus.cleaning.clean_table import Slices, write_copies, write_coverage
from reviewlm.corpus.cleaning.node_slices import NodeSlices
from reviewlm.corpus.cleaning.passes import Passes
from reviewlm.corpus.cleaning.ratings import find_other_ratings
from reviewlm.corpus.duplicates.coverage import coverage
from reviewlm.corpus.duplicates.crowds import Crowd, limit_crowds
from reviewlm.corpus.duplicates.exact import (
    COVERED,
    LEARNT,
    STAYS,
    TRAIN,
    ExactDuplicates,
)
from reviewlm.corpus.duplicates.near import ABSENT, NearDuplicates
from reviewlm.corpus.duplicates.node_near import NearOnNodes
from reviewlm.corpus.splitting.learnt import train_forms
from reviewlm.corpus.splitting.split import read_rows

MOST_CROWDS = 5
"""Number of crowds of copies that are named, the largest ones."""

BATCH_ROWS = 20_000
"""Number of reviews that are hashed at a time."""


class Findings(NamedTuple):
    """Facts about the reviews that stay: copies, coverage, and entries about odd ones."""

    copies: dict[str, dict[str, int]]
    spreads: dict[str, dict[str, Any]]
    odd: list[Entry]


class Dropping:
    """Decides which reviews are dropped because others say the same, one rule after another.

    Args:
        repeats: All reviews, with the reason to drop each.
        config: Which rules, and their limits.
        threads: Threads that compare.

    Attributes:
        index: The search for near-duplicates; None: it is not asked for.
        near: Facts about near-duplicates.
    """

    def __init__(
        self,
        repeats: ExactDuplicates,
        config: DuplicatesConfig,
        threads: int,
    ) -> None:
        self.repeats = repeats
        self.index: NearDuplicates | None = None
        self.near: dict[str, Any] = {}
        self._config = config
        self._threads = threads
        self._covered: dict[str, np.ndarray] = {}
        self._crowds: list[Crowd] = []

    def drop_all(
        self,
        passes: Passes,
        slices: Slices | NodeSlices,
        work: Path,
        earlier: Sequence[Path],
    ) -> None:
        """Apply all rules.

        Args:
            passes: Counts the progress.
            slices: The reviews.
            work: Folder for the search for near-duplicates.
            earlier: Folders of prepared data that start weights have learnt from.
        """
        config = self._config
        if config.near:
            if isinstance(slices, NodeSlices):
                there = NearOnNodes(work, config, slices.engine)
                there.add_slices(_distinct_on_nodes(self.repeats, slices))
                self.index = there
                passes.end()
            else:
                self.index = NearDuplicates(work, config, self._threads)
                self.index.add(_distinct(self.repeats, passes.through(slices)))

            self.near = _drop_near(self.repeats, self.index)
            self._covered = _drop_covered(
                self.repeats,
                self.index,
                earlier,
                config.coverage,
                self._threads,
            )

        self._crowds = limit_crowds(self.repeats, config.max_alike)
        if self.index:
            self.near["within"] = self.repeats.near_within()

    def count_learnt(self, learnt: dict[str, dict[str, int]]) -> None:
        """Add how many reviews of each split earlier data cover."""
        for side, kinds in learnt.items():
            kinds["covered"] = self.repeats.count_dropped(side, LEARNT)

    def write(self, folder: Path, stars: np.ndarray) -> Findings:
        """Write the tables beside clean.parquet.

        Args:
            folder: Holds clean.parquet.
            stars: Rating (N,) of each review.
        """
        copies = write_copies(folder, self.repeats.copies())
        spreads = write_coverage(folder, _of_staying(self._covered, self.repeats))
        odd = [
            entry_of_ratings(find_other_ratings(folder, self.repeats, stars)),
            *_entries_of_crowds(folder, self.repeats, self._crowds),
        ]
        return Findings(copies, spreads, odd)


def _entries_of_crowds(
    folder: Path,
    repeats: ExactDuplicates,
    crowds: Sequence[Crowd],
) -> list[Entry]:
    """Return the entries about the largest crowds, each with the beginning of its text."""
    rows = np.cumsum(repeats.code == STAYS) - 1
    entries = []
    for crowd in crowds[:MOST_CROWDS]:
        text = read_rows(folder, rows[[crowd.first]], ["text"]).item()
        entries.append(entry_of_crowd(crowd.reviews, crowd.share, text))

    return entries


def _of_staying(
    covered: Mapping[str, np.ndarray], repeats: ExactDuplicates
) -> dict[str, np.ndarray]:
    """Return the coverage of the held-out reviews that stay, in their order."""
    held_out = repeats.bounds[1]
    staying = repeats.code[:held_out] == STAYS
    return {name: values[repeats.first[:held_out]][staying] for name, values in covered.items()}


def _drop_near(repeats: ExactDuplicates, index: NearDuplicates) -> dict[str, Any]:
    """Drop near-duplicates; each distinct text is hashed and compared once, even if it occurs many times."""
    repeats.drop_near(index.pairs(repeats.ranks))
    return {"pairs": repeats.near_pairs, "examined": index.examined}


def _drop_covered(
    repeats: ExactDuplicates,
    index: NearDuplicates,
    earlier: Sequence[Path],
    limit: float,
    threads: int,
) -> dict[str, np.ndarray]:
    """Drop the held-out reviews that passages of train cover, or of the training text of earlier data.

    Returns:
        Of the first held-out review with each text `coverage` by train; with earlier data `learnt_coverage`.
    """
    number_D = index.keys.astype(np.int64)
    side_D = np.where(repeats.code[number_D] == STAYS, repeats.ranks(number_D), np.uint8(ABSENT))
    held_out = side_D < TRAIN
    measured = {"coverage": (COVERED, index.coverage(held_out, side_D == TRAIN, threads))}
    if earlier:
        covered_by = partial(coverage, partial(index.forms, held_out), threads=threads)
        largest = np.maximum.reduce(
            [covered_by(partial(train_forms, folder, threads)) for folder in earlier]
        )
        measured["learnt_coverage"] = LEARNT, largest

    of_reviews: dict[str, np.ndarray] = {}
    for name, (code, coverage_D) in measured.items():
        of_reviews[name] = np.zeros(repeats.bounds[1])
        of_reviews[name][number_D[held_out]] = coverage_D
        repeats.drop(
            number_D[held_out][(coverage_D >= limit) & (repeats.code[number_D[held_out]] == STAYS)],
            code,
        )

    return of_reviews


def _distinct_on_nodes(
    repeats: ExactDuplicates, slices: NodeSlices
) -> Iterator[tuple[Any, np.ndarray]]:
    """Yield references to the slices, with masks of the reviews that are the first with their text."""
    for one, chosen in slices.split_values(repeats.distinct(0, slices.rows)):
        yield one.rows, chosen


def _distinct(
    repeats: ExactDuplicates, slices: Iterator[pl.DataFrame]
) -> Iterator[tuple[np.ndarray, pl.Series]]:
    """Yield the numbers and texts of the reviews that are the first with their text."""
    start = 0
    for each in slices:
        for texts in each.select("text").iter_slices(BATCH_ROWS):
            chosen = repeats.distinct(start, start + texts.height)
            numbers = np.flatnonzero(chosen) + start
            yield numbers.astype(np.uint64), texts["text"].filter(pl.Series(chosen))
            start += texts.height
