"""Find the held-out reviews whose text, or nearly the same, is in the data that a model has learnt from before.

A model that starts from the champion's weights has learnt from earlier data. A test review that repeats an earlier
training review, under another id, would measure its memory. The search is exact where that of the splits is not
(`corpus.duplicates.shingle_index`), because only the reviews of two small splits are searched for.

The rule is that within data: a text of test may not be in validation or train, one of validation not in train. A text
that the earlier data have in the same split was compared with their later splits then, if their leak certificate says
that near-duplicates were defined as now (`corpus.splitting.leaks`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from core.config.run_config import DuplicatesConfig
from core.errors import Damaged
from corpus.duplicates.keys import NameIndex
from corpus.duplicates.shingle_index import ShingleIndex
from corpus.splitting.certificate import read
from corpus.splitting.split import SPLITS, TABLE, TEXT_NAME
from models.threads import ordered

INDEXED_BYTES = 32 << 20
"""Bytes of the texts that are searched for in one pass over the earlier data; they take 20 times the memory."""

_RANKS = {name: rank for rank, name in enumerate(SPLITS)}
_RANK = pl.col("split").replace_strict(_RANKS, return_dtype=pl.UInt8).alias("rank")

Frames = Callable[[], Iterable[pl.DataFrame]]
"""Returns the held-out reviews from the first one on: frames with the columns text and rank."""


@dataclass(frozen=True)
class Learnt:
    """What was found about the held-out reviews (H,), in their order.

    Args:
        exact: Mask of those whose text is in a later split of earlier data.
        near: Mask of the others that are near-duplicates of such a text.
        counts: Number of reviews by split and kind.
    """

    exact: np.ndarray
    near: np.ndarray
    counts: dict[str, dict[str, int]]


def find_learnt(
    held_out: Frames, earlier: Sequence[Path], config: DuplicatesConfig, threads: int = 1,
    report: Callable[[int], Any] = lambda reviews: None,
) -> Learnt:
    """Return which of the held-out reviews are in a later split of earlier data, exactly or nearly.

    Args:
        held_out: Returns the reviews in frames; it is called once for every pass over them.
        earlier: Folders of prepared data.
        config: Definition of near-duplicates; without `near` only equal texts are found.
        threads: Number of threads; they do not change the result.
        report: Is told how many earlier reviews were searched.
    """
    names, ranks = _named(held_out())
    exact, certified = np.zeros(len(names), bool), np.zeros((len(earlier), len(names)), bool)
    for number, folder in enumerate(earlier):
        later, same = _equal(names, ranks, folder, threads)
        exact |= later
        certified[number] = same & _is_certified(folder, config)
    near = np.zeros(len(names), bool)
    if config.near:
        wanted = ~exact & ~certified.all(axis=0)
        for rows, texts in _portions(held_out(), wanted):
            index = ShingleIndex(texts["text"], texts["rank"].to_numpy(), config)
            for folder, known in zip(earlier, certified[:, rows], strict=True):
                for found, count in ordered(partial(_compare, index), _groups(folder), threads):
                    near[rows[found & ~known]] = True
                    report(count)
            del index, texts  # before the next ones are made
    masks = {"exact": exact, "near": near}
    counts = {
        name: {kind: int((mask & (ranks == rank)).sum()) for kind, mask in masks.items()}
        for name, rank in _RANKS.items() if name != "train"
    }  # fmt: skip
    return Learnt(**masks, counts=counts)


def _named(frames: Iterable[pl.DataFrame]) -> tuple[np.ndarray, np.ndarray]:
    """Return a hash of each text, valid in this process, and the ranks of the splits."""
    none = pl.DataFrame(schema={"name": pl.UInt64(), "rank": pl.UInt8()})
    found = pl.concat([none, *(frame.select(TEXT_NAME, "rank") for frame in frames)])
    return found["name"].to_numpy(), found["rank"].to_numpy()


def _equal(name_H: np.ndarray, rank_H: np.ndarray, folder: Path, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Return masks (H,) of the texts that prepared data have in a later split, and in the same one."""
    names, place_H = np.unique(name_H, return_inverse=True)
    index, splits = NameIndex(names), np.zeros((len(SPLITS), len(names)), bool)
    for places, ranks in ordered(partial(_met, index), _groups(folder), threads):
        splits[ranks, places] = True
    has = splits[:, place_H]  # which splits have each text
    later = np.arange(len(SPLITS))[:, None] > rank_H
    return np.logical_or.reduce(has & later), has[rank_H, np.arange(len(rank_H))]


def _met(index: NameIndex, group: tuple[Path, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the places in the index of those texts of a row group that it has, and their ranks."""
    reviews = _reviews(group)
    places = index.find(reviews.select(TEXT_NAME).to_series().to_numpy())
    return places[places >= 0], reviews["rank"].to_numpy()[places >= 0]


def _is_certified(folder: Path, config: DuplicatesConfig) -> bool:
    """Return whether the splits of prepared data were compared with each other by this definition."""
    try:
        near = read(folder).near or {}
    except Damaged:
        return False
    return all(near.get(name) == value for name, value in config.model_dump(exclude={"near"}).items())


def _portions(frames: Iterable[pl.DataFrame], wanted_H: np.ndarray) -> Iterator[tuple[np.ndarray, pl.DataFrame]]:
    """Yield the wanted reviews and their numbers, in portions of at most `INDEXED_BYTES` or one frame."""
    rows, waiting, size, start = list[np.ndarray](), list[pl.DataFrame](), 0, 0
    for frame in frames:
        chosen = wanted_H[start : start + frame.height]
        some = frame.select("text", "rank").filter(pl.Series(chosen))
        added = int(some["text"].str.len_bytes().sum())
        if waiting and size + added > INDEXED_BYTES:
            yield np.concatenate(rows), pl.concat(waiting)
            rows, waiting, size = [], [], 0
        if added:
            rows.append(start + np.flatnonzero(chosen))
            waiting.append(some)
        size, start = size + added, start + frame.height
    if waiting:
        yield np.concatenate(rows), pl.concat(waiting)


def _groups(folder: Path) -> Iterator[tuple[Path, int]]:
    """Yield the row groups of a prepared table by number."""
    from pyarrow import parquet

    yield from ((folder / TABLE, number) for number in range(parquet.read_metadata(folder / TABLE).num_row_groups))


def _reviews(group: tuple[Path, int]) -> pl.DataFrame:
    """Return the reviews of a row group with the columns text and rank."""
    from pyarrow import parquet

    file, number = group
    with parquet.ParquetFile(file, pre_buffer=False) as table:
        rows = table.read_row_group(number, columns=["text", "split"], use_threads=False)
    return pl.DataFrame(pl.from_arrow(rows)).select("text", _RANK)


def _compare(index: ShingleIndex, group: tuple[Path, int]) -> tuple[np.ndarray, int]:
    """Return which indexed texts have a near-duplicate among the reviews of a row group, and how many these are."""
    reviews = _reviews(group)
    later = reviews.filter(pl.col("rank") > 0)
    return index.compare(later["text"], later["rank"].to_numpy()), reviews.height
