"""Sorting a table larger than the memory: rows go to slices of the order on disk, each of which is sorted by itself.

The order is that of the splits, and within a split that of the places, which are spread uniformly: so slices of equal
width hold about equally many reviews. Of the texts' hashes, 16 bytes a review stay in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import ceil
from pathlib import Path

import numpy as np
import polars as pl

ORDER = ("place", "text_high", "text_low", "review_id")
"""What a slice is sorted by. Where all but the review_id are equal, so are the keys held in memory."""


class Slices:
    """Rows on their way from the order of the input to that of the splits.

    Args:
        folder: An empty folder.
        count: Into how many slices the whole is cut, about.
        shares: The expected share of each split, by rank.
        ranges: From where to where the places of each split go, as shares of 2^64.
    """

    def __init__(
        self, folder: Path, count: int, shares: Sequence[float], ranges: Sequence[tuple[float, float]]
    ) -> None:
        self.folder = folder
        self.counts = np.array([max(1, ceil(count * share)) for share in shares], dtype=np.uint64)
        self.low = np.array([int(low * 2**32) for low, _ in ranges], dtype=np.uint64)
        self.width = np.array([int((high - low) * 2**32) + 1 for low, high in ranges], dtype=np.uint64)
        self.first = np.concatenate([[0], np.cumsum(self.counts)[:-1]]).astype(np.uint64)
        self._keys: list[list[np.ndarray]] = [[] for _ in range(int(self.counts.sum()))]

    def add(self, rows: pl.DataFrame) -> None:
        """Take rows with the columns rank (UInt8), place, text_high, text_low (UInt64), review_id and any others."""
        rank = rows["rank"].to_numpy()
        place = (rows["place"].to_numpy() >> np.uint64(32)) - self.low[rank]
        within = np.minimum(place * self.counts[rank] // self.width[rank], self.counts[rank] - np.uint64(1))
        index = pl.Series("slice", self.first[rank] + within)
        for (which,), part in rows.with_columns(index).partition_by("slice", as_dict=True, include_key=False).items():
            _append(self.folder / f"{which:05d}.arrows", part)
            self._keys[which].append(part.select("place", "text_high", "text_low").to_numpy())

    def text_hashes(self) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
        """Return both halves of each text's hash in the order of the rows, and where validation and train begin.

        To be called once, after the last row was added: what was held for it is given up.
        """
        sizes = [sum(map(len, found)) for found in self._keys]
        high, low = np.empty(sum(sizes), np.uint64), np.empty(sum(sizes), np.uint64)
        start = 0
        for which, size in enumerate(sizes):
            if size:
                keys = np.concatenate(self._keys[which])
                order = np.lexsort((keys[:, 2], keys[:, 1], keys[:, 0]))
                high[start : start + size], low[start : start + size] = keys[order, 1], keys[order, 2]
            self._keys[which] = []
            start += size
        bounds = tuple(sum(sizes[: int(first)]) for first in self.first[1:])
        return high, low, (bounds[0], bounds[1])

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """Yield the slices, sorted, from the first row to the last."""
        for which in range(len(self._keys)):
            path = self.folder / f"{which:05d}.arrows"
            if path.exists():
                yield _read(path).sort(ORDER)


def _append(path: Path, rows: pl.DataFrame) -> None:
    """Add the rows as one Arrow stream to the end of the file: no file stays open, however many slices there are."""
    from pyarrow import ipc

    table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
    with path.open("ab") as file, ipc.new_stream(file, table.schema, options=_options()) as stream:
        stream.write_table(table)


def _options() -> object:
    from pyarrow import ipc

    return ipc.IpcWriteOptions(compression="lz4")


def _read(path: Path) -> pl.DataFrame:
    from pyarrow import ipc

    frames, size = [], path.stat().st_size
    with path.open("rb") as file:
        while file.tell() < size:
            frames.append(pl.DataFrame(pl.from_arrow(ipc.open_stream(file).read_all())))
    return pl.concat(frames)


def regrouped(frames: Iterable[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """Yield the same rows in frames of exactly *rows* rows, each in one piece; the last one may be shorter."""
    waiting: list[pl.DataFrame] = []
    for frame in frames:
        waiting.append(frame)
        height = sum(each.height for each in waiting)
        if height < rows:
            continue
        whole = pl.concat(waiting)
        for start in range(0, height - height % rows, rows):
            yield whole.slice(start, rows).rechunk()
        waiting = [whole.slice(height - height % rows)]
    if rest := sum(each.height for each in waiting):
        yield pl.concat(waiting).rechunk().head(rest)
