"""Find the held-out reviews whose text, or nearly the same, is in the data that a model has learnt from before.

A model that starts from the champion's weights has learnt from earlier data. A test review that repeats an earlier
training review, under another id, would measure its memory. The search is exact where that of the splits is not
(`corpus.duplicates.shingle_index`), because only the reviews of two small splits are searched for.

The rule is that within data: a text of test may not be in validation or train, one of validation not in train. A text
that the earlier data have in the same split was compared with their later splits then (`corpus.splitting.leaks`).
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
from corpus.duplicates.shingle_index import ShingleIndex
from corpus.splitting.split import SPLITS, TABLE
from models.threads import ordered

INDEXED_BYTES = 32 << 20
"""Bytes of the texts that are searched for in one pass over the earlier data; they take about ten times the memory."""

_RANKS = {name: rank for rank, name in enumerate(SPLITS)}
_RANK = pl.col("split").replace_strict(_RANKS, return_dtype=pl.UInt8).alias("rank")
_NAME = pl.col("text").hash().alias("name")

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
    exact, clean = np.zeros(len(names), bool), np.ones((len(earlier), len(names)), bool)
    for number, folder in enumerate(earlier):
        later, same = _equal(names, ranks, folder)
        exact |= later
        clean[number] = same
    near = np.zeros(len(names), bool)
    if config.near:
        wanted = ~exact & ~clean.all(axis=0)
        for rows, index in _indexes(held_out(), wanted, config):
            for folder, known in zip(earlier, clean[:, rows], strict=True):
                index.near[:] = 0
                for count in ordered(partial(_compare, index), _groups(folder), threads):
                    report(count)
                near[rows[(index.near == 1) & ~known]] = True
    masks = {"exact": exact, "near": near}
    counts = {
        name: {kind: int((mask & (ranks == rank)).sum()) for kind, mask in masks.items()}
        for name, rank in _RANKS.items() if name != "train"
    }  # fmt: skip
    return Learnt(**masks, counts=counts)


def _named(frames: Iterable[pl.DataFrame]) -> tuple[np.ndarray, np.ndarray]:
    """Return a hash of each text, valid in this process, and the ranks of the splits."""
    none = pl.DataFrame(schema={"name": pl.UInt64(), "rank": pl.UInt8()})
    found = pl.concat([none, *(frame.select(_NAME, "rank") for frame in frames)])
    return found["name"].to_numpy(), found["rank"].to_numpy()


def _equal(name_H: np.ndarray, rank_H: np.ndarray, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return masks (H,) of the texts that prepared data have in a later split, and in the same one."""
    held_out = pl.DataFrame({"name": name_H, "own": rank_H}).with_row_index("row")
    found = (
        pl.scan_parquet(folder / TABLE).select(_NAME, _RANK)
        .join(held_out.lazy().select("name").unique(), on="name", how="semi").unique().collect(engine="streaming")
    )
    met = held_out.join(found, on="name", how="inner")
    masks = np.zeros((2, len(name_H)), bool)
    for mask, which in zip(masks, (pl.col("rank") > pl.col("own"), pl.col("rank") == pl.col("own")), strict=True):
        mask[met.filter(which)["row"].to_numpy()] = True
    return masks[0], masks[1]


def _indexes(
    frames: Iterable[pl.DataFrame], wanted_H: np.ndarray, config: DuplicatesConfig
) -> Iterator[tuple[np.ndarray, ShingleIndex]]:
    """Yield indexes of the wanted texts, each of a limited size, with the numbers of their texts."""
    rows, waiting, size, start = list[np.ndarray](), list[pl.DataFrame](), 0, 0
    for frame in frames:
        chosen = wanted_H[start : start + frame.height]
        some = frame.select("text", "rank").filter(pl.Series(chosen))
        rows.append(start + np.flatnonzero(chosen))
        waiting.append(some)
        size, start = size + int(some["text"].str.len_bytes().sum()), start + frame.height
        if size > INDEXED_BYTES:
            yield _index(rows, waiting, config)
            rows, waiting, size = [], [], 0
    if size:
        yield _index(rows, waiting, config)


def _index(
    rows: list[np.ndarray], frames: list[pl.DataFrame], config: DuplicatesConfig
) -> tuple[np.ndarray, ShingleIndex]:
    texts = pl.concat(frames)
    return np.concatenate(rows), ShingleIndex(texts["text"], texts["rank"].to_numpy(), config)


def _groups(folder: Path) -> Iterator[tuple[Path, int]]:
    """Yield the row groups of a prepared table by number."""
    from pyarrow import parquet

    yield from ((folder / TABLE, number) for number in range(parquet.read_metadata(folder / TABLE).num_row_groups))


def _compare(index: ShingleIndex, group: tuple[Path, int]) -> int:
    """Compare the reviews of a row group with the index; return their number."""
    from pyarrow import parquet

    file, number = group
    with parquet.ParquetFile(file, pre_buffer=False) as table:
        read = table.read_row_group(number, columns=["text", "split"], use_threads=False)
    reviews = pl.DataFrame(pl.from_arrow(read)).with_columns(_RANK).filter(pl.col("rank") > 0)
    index.compare(reviews["text"], reviews["rank"].to_numpy())
    return read.num_rows
