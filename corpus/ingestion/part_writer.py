"""Write the parts of a file while it is read, each complete or not at all.

Each part comes with the bad records found while it was read, and with a small JSON file, its "place": where in the
file the part ended. The place is written last and by renaming, so a killed reading continues after the last complete
part.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import polars as pl

from corpus.ingestion.parts import describe, parquet_bytes, part_name, write_whole
from corpus.schema import QUARANTINE, Block

log = logging.getLogger(__name__)

PART_BYTES = 256 << 20
"""Approximate limit for a part: 100,000 reviews need a third of it, 100,000 books would fill the memory."""
BAD_BYTES = 64 << 20
"""Approximate limit for bad records in memory, because a file can consist of bad records only."""
SUMS = "crc32"
"""Key of a place that holds the CRC-32 of the part's files."""
MANY = 500
"""Largest number of tables in memory: many small files give tables with few rows, and each table has an overhead."""
ROW_BYTES = 200
"""Estimated bytes of a row in addition to its longest column."""


class PartWriter:
    """A writer that cuts the stream of blocks into parts and records where each part ended.

    A part has *part_rows* rows, or fewer if they reach `PART_BYTES` first. The place is (blocks read, rows of the next
    block already written). The bad records of a block are saved with the first part written after the block was read.
    So after a part that ended inside a block they are already saved. If they get too large before a part is full, they
    are written to a separate file. While the next part is read, one thread writes a part and another describes it; only
    one part is written at a time.

    Args:
        folder: Folder of the parts.
        journal: Folder for the bad records and the places.
        part_rows: Largest number of rows in a part.
    """

    def __init__(self, folder: Path, journal: Path, part_rows: int) -> None:
        self.folder, self.journal, self.part_rows = folder, journal, part_rows
        places = _whole(_places(journal), folder, journal)
        self.parts = len(places)
        last = places[-1] if places else {"blocks": 0, "rows": 0}
        self.complete = bool(last.get("last"))
        self.skip_blocks, self.skip_rows = last["blocks"], last["rows"]
        self.blocks = self.spilt = 0
        self.sums: dict[str, int] = {}
        self.good: list[pl.DataFrame] = []
        self.bad: list[pl.DataFrame] = []
        self.rows = self.good_bytes = self.bad_bytes = 0  # totals of the lists, because the lists can be long
        self.threads = ThreadPoolExecutor(2, thread_name_prefix="part")
        self.saving: Future[None] | None = None
        if self.parts:
            log.info("%d parts are already finished; reading continues after them", self.parts)

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        self.threads.shutdown()
        if kind is None:
            self._wait()

    def add(self, block: Block) -> None:
        """Take the next block; blocks of finished parts are skipped."""
        self.blocks += 1
        if self.blocks <= self.skip_blocks:
            return
        good, bad = block.good, block.bad
        if self.skip_rows:
            good, bad = good.slice(self.skip_rows), bad.clear()
            self.skip_rows = 0
        self.good += [good] if good.height else []
        if len(self.good) > MANY:
            self.good = [pl.concat(self.good, rechunk=True)]
        self.bad += [bad] if bad.height else []
        self.rows += good.height
        self.good_bytes += _bytes(good, "text")
        self.bad_bytes += _bytes(bad, "raw")
        if self.bad_bytes >= BAD_BYTES:
            self._spill()
        while self.rows >= self.part_rows or self.good_bytes >= PART_BYTES:
            self._write(pl.concat(self.good), block.good.height)

    def _write(self, rows: pl.DataFrame, block_rows: int) -> None:
        part, rest = rows.head(self.part_rows), rows.slice(self.part_rows)
        ended = rest.is_empty()
        place = {"blocks": self.blocks - (not ended), "rows": 0 if ended else block_rows - rest.height}
        self._save(part, place)
        self.good = [] if ended else [rest]
        self.rows, self.good_bytes = rest.height, _bytes(rest, "text")

    def _spill(self) -> None:
        self._keep(_bad_file(self.journal, self.parts, self.spilt), pl.concat(self.bad), self.sums)
        self.spilt += 1
        self.bad, self.bad_bytes = [], 0

    def finish(self) -> None:
        """Write the remaining rows; also without rows, so that the end of the file is recorded."""
        rows = pl.concat(self.good) if self.good else None
        self._save(rows, {"blocks": self.blocks, "rows": 0, "last": True})

    def _save(self, rows: pl.DataFrame | None, place: dict[str, Any]) -> None:
        bad = pl.concat(self.bad) if self.bad else pl.DataFrame(schema=QUARANTINE)
        self._wait()
        about = {**place, "spilt": self.spilt, SUMS: self.sums}
        described = self.threads.submit(describe, rows) if rows is not None and rows.height else None
        self.saving = self.threads.submit(self._put, self.parts, rows, described, bad, about)
        self.parts += 1
        self.spilt, self.bad, self.bad_bytes, self.sums = 0, [], 0, {}

    def _wait(self) -> None:
        """Wait for the part that is being written; raise its error if it failed."""
        if self.saving is not None:
            self.saving.result()

    def _put(
        self, number: int, rows: pl.DataFrame | None, described: Future[dict[str, Any]] | None, bad: pl.DataFrame,
        place: dict[str, Any],
    ) -> None:
        part: dict[str, Any] = {"rows": 0}
        if rows is not None and described is not None:
            self._keep(self.folder / f"{part_name(number)}.parquet", rows, place[SUMS])
            part = described.result()
        self._keep(_bad_file(self.journal, number, place["spilt"]), bad, place[SUMS])
        write_whole(_place_file(self.journal, number), json.dumps({**place, "part": part}).encode())


    @staticmethod
    def _keep(path: Path, rows: pl.DataFrame, sums: dict[str, int]) -> None:
        content = parquet_bytes(rows)
        sums[path.name] = zlib.crc32(content)
        write_whole(path, content)


def _bytes(frame: pl.DataFrame, column: str) -> int:
    """Return the approximate memory of the rows: the bytes of *column* plus `ROW_BYTES` for each row."""
    return int(frame[column].cast(pl.Binary).bin.size().sum()) + ROW_BYTES * frame.height


def _place_file(journal: Path, number: int) -> Path:
    return journal / f"{part_name(number)}.json"


def _bad_file(journal: Path, number: int, piece: int) -> Path:
    return journal / f"{part_name(number)}.bad-{piece:03d}.parquet"


def _places(journal: Path) -> list[dict[str, Any]]:
    """Return the places of the complete parts, from the first part to the last one before a gap."""
    numbers = takewhile(lambda number: _place_file(journal, number).exists(), count())
    return [read_json(_place_file(journal, number)) for number in numbers]


def _whole(places: list[dict[str, Any]], folder: Path, journal: Path) -> list[dict[str, Any]]:
    """Return the places of the parts with intact files; stop at the first damaged part (e.g. after a power loss)."""
    for number, place in enumerate(places):
        if not _is_whole(place, folder, journal):
            log.warning("part %d differs from what was written; reading continues from before it", number)
            for later in range(number, len(places)):
                _place_file(journal, later).unlink()
            return places[:number]
    return places


def _is_whole(place: dict[str, Any] | None, folder: Path, journal: Path) -> bool:
    """Return whether the files of a finished part match their checksums."""
    if place is None:
        return False
    for name, crc32 in place[SUMS].items():
        path = next((path for path in (folder / name, journal / name) if path.is_file()), None)
        if path is None or zlib.crc32(path.read_bytes()) != crc32:
            return False
    return True


def described_parts(journal: Path) -> list[dict[str, Any]]:
    """Return the descriptions (`corpus.ingestion.parts.describe`) of the parts that hold rows."""
    return [place["part"] for place in _places(journal) if place["part"]["rows"]]


def saved_quarantine(journal: Path) -> Iterator[pl.DataFrame]:
    """Yield the bad records of the complete parts, in order, a bounded number at a time."""
    for number, place in enumerate(_places(journal)):
        for piece in range(place["spilt"] + 1):
            yield pl.read_parquet(_bad_file(journal, number, piece))


def read_json(path: Path) -> Any:
    """Return the JSON content of a file, or None if it does not exist or is not valid JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
