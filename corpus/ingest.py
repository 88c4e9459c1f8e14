"""Records of any input → typed Parquet parts and a quarantine, restartable per part.

The work happens in `raw/` below the result's folder: a part of `source.part_rows` good records, the bad ones met on
the way, and a small JSON file that says where in the input the part ended. That JSON is written last and by renaming,
so a part either exists whole or does not exist; a run that was killed goes on after the last whole part and yields
the same bytes as one that was not. `corpus.settle` then turns `raw/` into the result.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from corpus.parts import finished_parts, parquet_bytes, part_name, write_whole
from corpus.readers import Progress, expand_inputs, read, source_names
from corpus.schema import COLUMNS, QUARANTINE, Block, Limits
from corpus.settle import FACTS, settle
from reviewlm.config import SourceConfig
from reviewlm.errors import disk_errors

log = logging.getLogger(__name__)

BLOCK_BYTES = 8 << 20
EDGE_BYTES = 1 << 16

Report = Callable[[int, int, int], None]
"""Called with records done, bytes done and bytes in all (of the files as they lie on the disk)."""

IngestFacts = dict[str, Any]


def ingest(
    inputs: Sequence[Path | str], folder: Path, config: SourceConfig, report: Report | None = None
) -> IngestFacts:
    """Read all inputs into `folder/parts/part-*.parquet` (`COLUMNS`) and `folder/quarantine.parquet` (`QUARANTINE`).

    Nothing is dropped silently: `records = rows + quarantined + duplicates`. Of records that share a review_id the
    newest by date stays (of equally new ones the last); the others stand in the quarantine with the reason
    "duplicate_id" and are counted as duplicates, not as quarantined. Blank lines are no records.

    Args:
        inputs: Files, folders or globs.
        folder: Where to write; what a killed run of the same inputs left there is used, anything else is removed.
        config: Longest text and rows per part.
        report: Told the progress after each block.

    Returns:
        Facts: records, rows, quarantined, duplicates, reasons, parts, bytes (UTF-8 of the kept texts), input_bytes,
        date_min, date_max, content_sha256 (of the rows in order, whatever the format they came in), sources.

    Raises:
        EmptyInput: No records, or all of them bad.
        Unreadable: An input is missing, damaged, cut off or in no known format.
        MissingColumn: A file has no text.
        StoreFull, NotWritable: The disk.
    """
    paths = expand_inputs(inputs)
    request = _request(paths, config)
    if (done := _finished(folder, request)) is not None:
        return done
    raw = folder / "raw"
    with disk_errors(folder):
        _prepare_folder(folder, raw, request)
        _read_into(raw, paths, config, report or (lambda records, done, total: None))
        return settle(folder, raw, request)


def _request(paths: Sequence[Path], config: SourceConfig) -> dict[str, Any]:
    """Return what tells one ingestion from another: names, sizes, both ends of each file, and the settings."""
    files = []
    for path, name in zip(paths, source_names(paths), strict=True):
        with disk_errors(path), path.open("rb") as file:
            edge = file.read(EDGE_BYTES)
            file.seek(max(path.stat().st_size - EDGE_BYTES, 0))
            edges = hashlib.sha256(edge + file.read()).hexdigest()
        files.append({"name": name, "bytes": path.stat().st_size, "edges": edges})
    return {"files": files, "max_chars": config.max_chars, "part_rows": config.part_rows}


def _finished(folder: Path, request: dict[str, Any]) -> IngestFacts | None:
    facts = _json(folder / FACTS)
    return facts["facts"] if facts and facts["request"] == request else None


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _prepare_folder(folder: Path, raw: Path, request: dict[str, Any]) -> None:
    """Keep what an interrupted run of the same request left; remove everything else that this stage writes."""
    (folder / FACTS).unlink(missing_ok=True)
    shutil.rmtree(folder / "parts", ignore_errors=True)
    if _json(raw / "request.json") != request:
        shutil.rmtree(raw, ignore_errors=True)
        raw.mkdir(parents=True)
        write_whole(raw / "request.json", json.dumps(request).encode())


def _read_into(raw: Path, paths: Sequence[Path], config: SourceConfig, report: Report) -> None:
    total = sum(path.stat().st_size for path in paths)
    progress = Progress()
    writer = _PartWriter(raw, config.part_rows)
    if writer.complete:
        return
    limits = Limits(max_chars=config.max_chars, block_bytes=BLOCK_BYTES)
    for block in read(paths, limits, progress):
        progress.records += block.records
        writer.add(block)
        report(progress.records, progress.bytes_done, total)
    writer.finish()


class _PartWriter:
    """Cuts the stream of blocks into parts of exactly *part_rows* rows and remembers where each part ended.

    The place is (blocks read, rows of the next block already written). The bad records of a block go with the first
    part that is written after the block was met, so after a part that ended inside a block they are already saved.
    """

    def __init__(self, raw: Path, part_rows: int) -> None:
        self.raw, self.part_rows = raw, part_rows
        self.parts = finished_parts(raw)
        place = _json(raw / f"{part_name(self.parts - 1)}.json") if self.parts else {"blocks": 0, "rows": 0}
        self.complete = bool(place.get("last"))
        self.skip_blocks, self.skip_rows = place["blocks"], place["rows"]
        self.blocks = 0
        self.good: list[pl.DataFrame] = []
        self.bad: list[pl.DataFrame] = []
        if self.parts:
            log.info("%d parts were finished before; reading goes on after them", self.parts)

    def add(self, block: Block) -> None:
        """Take the next block; blocks of finished parts are passed over."""
        self.blocks += 1
        if self.blocks <= self.skip_blocks:
            return
        good, bad = block.good, block.bad
        if self.skip_rows:
            good, bad = good.slice(self.skip_rows), bad.clear()
            self.skip_rows = 0
        self.good.append(good)
        self.bad.append(bad)
        while sum(frame.height for frame in self.good) >= self.part_rows:
            self._write(pl.concat(self.good), block.good.height)

    def _write(self, rows: pl.DataFrame, block_rows: int) -> None:
        part, rest = rows.head(self.part_rows), rows.slice(self.part_rows)
        ended = rest.is_empty()
        place = {"blocks": self.blocks - (not ended), "rows": 0 if ended else block_rows - rest.height}
        self._save(part, place)
        self.good = [] if ended else [rest]

    def finish(self) -> None:
        """Write what is left; also when that is nothing, so that the end of the input is on record."""
        rows = pl.concat(self.good) if self.good else pl.DataFrame(schema=COLUMNS)
        self._save(rows, {"blocks": self.blocks, "rows": 0, "last": True})

    def _save(self, rows: pl.DataFrame, place: dict[str, Any]) -> None:
        name = part_name(self.parts)
        bad = pl.concat(self.bad) if self.bad else pl.DataFrame(schema=QUARANTINE)
        write_whole(self.raw / f"{name}.parquet", parquet_bytes(rows))
        write_whole(self.raw / f"{name}.bad.parquet", parquet_bytes(bad))
        counts = {"good": rows.height, "bad": bad.height}
        write_whole(self.raw / f"{name}.json", json.dumps({**place, **counts}).encode())
        self.parts += 1
        self.bad = []


def iter_parts(folder: Path) -> Iterator[pl.DataFrame]:
    """Yield the finished parts of an ingested dataset, in order, each with the columns of `COLUMNS`."""
    for path in sorted((folder / "parts").glob("part-*.parquet")):
        yield pl.read_parquet(path)
