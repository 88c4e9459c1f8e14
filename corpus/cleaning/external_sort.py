"""Sort a table larger than memory: distribute rows to slices of the order on disk, and sort each slice separately.

The order is by split, and within a split by place. Places are spread uniformly, so slices of equal width hold about the
same number of reviews. Memory per review: 24 bytes (place and text hash) while rows are added, then 16 (text hash).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import ceil
from pathlib import Path

import numpy as np
import polars as pl

from models.threads import ordered

ORDER = ("place", "text_high", "text_low", "review_id")
"""Sort key of a slice. Where all columns except review_id are equal, the keys in memory are equal too."""


class Slices:
    """Rows that are sorted from the order of the input into the order of the splits.

    Args:
        folder: An empty folder.
        count: Approximate number of slices.
        shares: The expected share of each split, by rank.
        ranges: First and last place of each split, as shares of 2^64.
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
        self._left_out = np.zeros(0, bool)

    def add(self, rows: pl.DataFrame) -> None:
        """Add rows with the columns rank (UInt8), place, text_high, text_low (UInt64), review_id and any others."""
        rank = rows["rank"].to_numpy()
        place = (rows["place"].to_numpy() >> np.uint64(32)) - self.low[rank]
        within = np.minimum(place * self.counts[rank] // self.width[rank], self.counts[rank] - np.uint64(1))
        index = pl.Series("slice", self.first[rank] + within)
        for (which,), part in rows.with_columns(index).partition_by("slice", as_dict=True, include_key=False).items():
            _append(self.folder / f"{which:05d}.arrows", part)
            self._keys[which].append(part.select("place", "text_high", "text_low").to_numpy())

    def text_hashes(self) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
        """Return both halves of each text's hash in row order, and the rows where validation and train begin.

        Call it once, after the last row was added, because it frees the memory of the hashes.
        """
        sizes = [sum(map(len, hashes)) for hashes in self._keys]
        high, low = np.empty(sum(sizes), np.uint64), np.empty(sum(sizes), np.uint64)
        start = 0
        for which, size in enumerate(sizes):
            if size:
                keys = np.concatenate(self._keys[which])
                order = _by_place(keys[:, 0])
                if order is None:
                    order = np.lexsort((keys[:, 2], keys[:, 1], keys[:, 0]))
                high[start : start + size], low[start : start + size] = keys[order, 1], keys[order, 2]
            self._keys[which] = []
            start += size
        bounds = [sum(sizes[: int(first)]) for first in self.first[1:]]
        if self._left_out.any():
            bounds = [bound - int(self._left_out[:bound].sum()) for bound in bounds]
            high, low = (np.delete(half, np.flatnonzero(self._left_out)) for half in (high, low))
        return high, low, (bounds[0], bounds[1])

    def leave_out(self, first: np.ndarray) -> None:
        """Leave out some of the first rows, given by a mask: from now on they are neither yielded nor hashed."""
        self._left_out = first

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """Yield the sorted slices, from the first to the last; the next one is sorted while the caller uses one."""
        paths = (self.folder / f"{which:05d}.arrows" for which in range(len(self._keys)))
        start = 0
        for frame in ordered(_sorted, (path for path in paths if path.exists()), workers=2, ahead=0):
            gone = self._left_out[start : start + frame.height]
            start += frame.height
            if gone.any():
                frame = frame.filter(~pl.Series(np.pad(gone, (0, frame.height - len(gone)))))
            if frame.height:
                yield frame


def _append(path: Path, rows: pl.DataFrame) -> None:
    """Append the rows as one Arrow stream to the file, so that no file stays open, even with many slices."""
    from pyarrow import ipc

    table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
    with path.open("ab") as file, ipc.new_stream(file, table.schema, options=_options()) as stream:
        stream.write_table(table)


def _options() -> object:
    from pyarrow import ipc

    return ipc.IpcWriteOptions(compression="lz4")


def _sorted(path: Path) -> pl.DataFrame:
    frame = _read(path)
    order = _by_place(frame["place"].to_numpy())
    return frame.sort(ORDER) if order is None else frame[order]


def _by_place(place: np.ndarray) -> np.ndarray | None:
    """Return the order of places, or None if some are equal, so that the other keys decide; nearly all differ."""
    order = np.argsort(place)
    ascending = place[order]
    return None if (ascending[1:] == ascending[:-1]).any() else order


def _read(path: Path) -> pl.DataFrame:
    from pyarrow import ipc

    frames, size = [], path.stat().st_size
    with path.open("rb") as file:
        while file.tell() < size:
            frames.append(pl.DataFrame(pl.from_arrow(ipc.open_stream(file).read_all())))
    return pl.concat(frames)


def regrouped(frames: Iterable[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """Yield the same rows in frames of exactly *rows* rows, each in one chunk; the last frame may be shorter."""
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
