"""Find the held-out reviews whose text is in the data that a model has learnt from before, and read those data.

A model that starts from the champion's weights has learnt from earlier data. A test review that repeats an earlier
training review, under another id, would measure its memory. The rule is that within data: a text of test may not be in
validation or train, one of validation not in train. Held-out reviews that passages of earlier training text cover leave
as well (`corpus.cleaning.clean`, `corpus.duplicates.coverage`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from corpus.duplicates.coverage import SPAN
from corpus.duplicates.exact import NameIndex
from corpus.duplicates.shingles import SLICE_BYTES, Forms, part_of, simple_bytes, slices, word_bytes
from corpus.splitting.split import SPLITS, TABLE, TEXT_NAME
from models.threads import ordered

_RANKS = {name: rank for rank, name in enumerate(SPLITS)}
_RANK = pl.col("split").replace_strict(_RANKS, return_dtype=pl.UInt8).alias("rank")


def find_learnt(
    held_out: Iterable[pl.DataFrame], earlier: Sequence[Path], threads: int = 1,
    report: Callable[[int], Any] = lambda reviews: None,
) -> np.ndarray:
    """Return a mask (H,) of the held-out reviews whose text is in a later split of earlier data.

    Args:
        held_out: The reviews in frames with the columns text and rank.
        earlier: Folders of prepared data.
        threads: Number of threads; they do not change the result.
        report: Is told how many earlier reviews were searched.
    """
    none = pl.DataFrame(schema={"name": pl.UInt64(), "rank": pl.UInt8()})
    reviews = pl.concat([none, *(frame.select(TEXT_NAME, "rank") for frame in held_out)])
    names, text_H = np.unique(reviews["name"].to_numpy(), return_inverse=True)
    index, splits = NameIndex(names), np.zeros((len(SPLITS), len(names)), bool)
    groups = [group for folder in earlier for group in _groups(folder)]
    for places, ranks, count in ordered(partial(_met, index), groups, threads):
        splits[ranks, places] = True
        report(count)
    later = np.arange(len(SPLITS))[:, None] > reviews["rank"].to_numpy()
    return np.asarray((splits[:, text_H] & later).any(axis=0))


def train_forms(folder: Path, threads: int = 1) -> Iterator[Forms]:
    """Yield the training texts of prepared data in word form, some at a time, without those shorter than a run."""
    for data, offsets in ordered(_long_forms, _groups(folder), threads):
        for part in slices(offsets, SLICE_BYTES):
            yield part_of(part, data, offsets)


def _met(index: NameIndex, group: tuple[Path, int]) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the places in the index of those texts of a row group that it has, their ranks, and the group's size."""
    reviews = _reviews(group)
    places = index.find(reviews.select(TEXT_NAME).to_series().to_numpy())
    return places[places >= 0], reviews["rank"].to_numpy()[places >= 0], reviews.height


def _long_forms(group: tuple[Path, int]) -> Forms:
    texts = _reviews(group).filter(pl.col("rank") == _RANKS["train"])["text"]
    return word_bytes(*simple_bytes(texts), SPAN)[:2]


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
