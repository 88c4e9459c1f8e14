"""Read records of any input into typed Parquet parts and a quarantine, file by file, restartable after each part.

`read_source` reads one file, part by part (`corpus.ingestion.ingest`). A reading that was killed continues after
the last complete part, and the result has the same bytes as without the interruption. `build_dataset` then
builds one data set from all files.

Each part is written complete or not at all. It comes with the bad records found while it was read, and with a small
JSON file, its "place": where in the file the part ended. The place is written last and by renaming, so a killed reading
continues after the last complete part.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields
from datetime import UTC, datetime
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from core.config.sections.source import SourceConfig
from core.errors import InputError, disk_errors
from core.processes.memory import kept_memory
from corpus.ingestion.build_dataset import DATASET_FILE, assemble
from corpus.ingestion.parts import (
    PARTS,
    QUARANTINE_FILE,
    READING_FILE,
    QuarantineWriter,
    SourceReading,
    describe,
    link_whole,
    parquet_bytes,
    part_name,
    spread,
    write_whole,
)
from corpus.reading.archives import is_pack
from corpus.reading.packs import PACK, Pack, all_sources
from corpus.reading.readers import Progress, read
from corpus.reading.sources import Source, cause_of, input_errors, originals
from corpus.schema import QUARANTINE, Block, Limits

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


BLOCK_BYTES = 8 << 20
JOURNAL = "journal"
JOURNAL_VERSION = 3
"""Format of the journal; increase it when the journal of a killed reading can no longer be read."""
READINGS = "readings"
SETTINGS = ("max_chars", "max_record_bytes", "max_expansion", "part_rows")
"""Settings that change the result of reading a file."""

Report = Callable[[int, int, int], None]
"""Progress callback: records done, bytes done, and bytes in total (of the files on disk)."""

IngestFacts = dict[str, Any]


def ingest(
    inputs: Sequence[Path | str], folder: Path, config: SourceConfig, report: Report | None = None,
    now: datetime | None = None,
) -> IngestFacts:  # fmt: skip
    """Read all inputs into `folder/parts/part-*.parquet` (`COLUMNS`) and `folder/quarantine.parquet` (`QUARANTINE`).

    Nothing is dropped silently: `records = rows + quarantined + duplicates`. Of records with the same review_id the
    newest by date is kept (the last one if dates are equal). The others are in the quarantine with the reason
    "duplicate_id"; they count as duplicates, not as quarantined. Blank lines are not records.

    Args:
        inputs: Files, folders or globs.
        folder: Output folder. Results that a killed run of the same inputs left there are used; others are replaced.
        config: Longest text, rows per part and so on: `SETTINGS`.
        report: Called with the progress after each block.
        now: The present moment in UTC; later dates are refused.

    Returns:
        Facts, see `corpus.ingestion.build_dataset.assemble`.

    Raises:
        EmptyInput: There are no records, or all of them are bad.
        Unreadable: An input is missing, damaged, cut off, in an unknown format, or changed while it was read.
        MissingColumn: A file has no text.
    """
    sources = all_sources(inputs)
    if (done := _finished(folder, sources, config)) is not None:
        return done
    chosen = originals(sources)
    total = sum(source.bytes for source in chosen.values())
    readings: dict[str, SourceReading] = {}
    records = size = 0
    with disk_errors(folder):
        for key, source in chosen.items():
            def tell(more: int, done: int, _: int, records: int = records, size: int = size) -> None:
                if report:
                    report(records + more, size + done, total)

            readings[key] = read_source(source, folder / READINGS / _key(source, config), config, tell, now)
            records, size = records + readings[key].facts["records"], size + source.bytes
        facts = assemble(folder, sources, readings)
        shutil.rmtree(folder / READINGS)
    return facts


def _finished(folder: Path, sources: Sequence[Source], config: SourceConfig) -> IngestFacts | None:
    """Return the facts of a data set in *folder* if it has the same files and settings, otherwise None."""
    facts = read_json(folder / DATASET_FILE)
    if not facts or facts["settings"] != settings_of(config):
        return None
    files = [(source.name, source.sha256) for source in sources]
    return dict(facts) if [(entry["name"], entry["sha256"]) for entry in facts["sources"]] == files else None


def _key(source: Source, config: SourceConfig) -> str:
    """Return the name of the folder for the reading of a file."""
    return hashlib.sha256(json.dumps([source.name, source.sha256, settings_of(config)]).encode()).hexdigest()[:16]


def settings_of(config: SourceConfig) -> dict[str, Any]:
    """Return the settings that change the result of reading a file; names of fields only where they differ."""
    renamed = {"fields": config.renamed} if config.renamed else {}
    return {name: getattr(config, name) for name in SETTINGS} | renamed


def limits_of(config: SourceConfig, now: datetime | None = None) -> Limits:
    """Return the limits for the readers, each the setting with the same name, and the names of the fields.

    Args:
        now: The present moment in UTC, if it is not that of the clock.
    """
    names = {field.name for field in fields(Limits)} & set(SETTINGS)
    limits = {name: getattr(config, name) for name in names}
    return Limits(block_bytes=BLOCK_BYTES, renamed=config.renamed, now=now or datetime.now(UTC), **limits)


def read_source(
    source: Source, folder: Path, config: SourceConfig, report: Report | None = None, now: datetime | None = None
) -> SourceReading:
    """Read one file into `folder`: `parts/`, `quarantine.parquet` and `read.json` (see `SourceReading`).

    Beside what is read from small files lies the archive of them.

    Args:
        source: The file; it must not have changed since `identify` hashed it.
        folder: Output folder. Results that a killed reading of the same file left there are used; others are removed.
        config: See `SETTINGS`.
        report: Called with the progress after each block.
        now: The present moment in UTC; later dates are refused.

    Raises:
        Unreadable, MissingColumn, EmptyInput: See `corpus.reading.readers.read`; also if the file changes while read.
        StoreFull, NotWritable: The disk is full or not writable.
    """
    about = {"name": source.name, "bytes": source.bytes, "sha256": source.sha256, "settings": settings_of(config)}
    journal = folder / JOURNAL
    with disk_errors(folder), kept_memory():
        if not (folder / READING_FILE).exists():
            _prepare_folder(folder, {**about, "block_bytes": BLOCK_BYTES, "journal": JOURNAL_VERSION})
            path = _with_pack(source, folder)
            limits = limits_of(config, now)
            _read_parts(source, path, folder, config.part_rows, limits, report or (lambda records, done, total: None))
            _finish(folder, about)
        shutil.rmtree(journal, ignore_errors=True)
    return SourceReading(folder)


def _prepare_folder(folder: Path, request: dict[str, Any]) -> None:
    """Keep the results of an interrupted reading of the same file; remove everything else."""
    journal = folder / JOURNAL
    if read_json(journal / "request.json") != request:
        shutil.rmtree(folder, ignore_errors=True)
        (folder / PARTS).mkdir(parents=True)
        journal.mkdir()
        write_whole(journal / "request.json", json.dumps(request).encode())


def _with_pack(source: Source, folder: Path) -> Path:
    """Return the path to read a source from; an archive of small files is put into the folder first."""
    if isinstance(source, Pack):
        return source.write(folder)
    with input_errors(source.path), source.path.open("rb") as file:
        packed = is_pack(file.read(512))
    if packed and source.path != folder / PACK:
        link_whole(source.path, folder / PACK)
    return source.path


def _read_parts(
    source: Source, path: Path, folder: Path, part_rows: int, limits: Limits, report: Report
) -> None:  # fmt: skip
    progress, journal = Progress(), folder / JOURNAL
    with PartWriter(folder / PARTS, journal, part_rows) as writer:
        if writer.complete:
            return
        try:
            for block in read(path, source.name, limits, progress):
                progress.records += block.records
                writer.add(block)
                report(progress.records, progress.bytes_done, source.bytes)
        except InputError as error:
            raise cause_of(error, source) from error
        source.require_unchanged()
        writer.finish()


def _finish(folder: Path, about: dict[str, Any]) -> None:
    """Join the bad records of all parts, and write the facts."""
    journal = folder / JOURNAL
    reasons: Counter[str] = Counter()
    with QuarantineWriter(folder / QUARANTINE_FILE) as quarantine:
        for bad in saved_quarantine(journal):
            reasons.update(bad["reason"].to_list())
            quarantine.add(bad)
    parts = described_parts(journal)
    rows, quarantined = spread(parts)["rows"], sum(reasons.values())
    facts = {
        **about, "records": rows + quarantined, "rows": rows, "quarantined": quarantined,
        "reasons": dict(sorted(reasons.items())), "parts": parts,
    }
    write_whole(folder / READING_FILE, orjson.dumps(facts, option=orjson.OPT_INDENT_2))


def iter_parts(folder: Path) -> Iterator[pl.DataFrame]:
    """Yield the finished parts of an ingested data set, in order, each with the columns `COLUMNS`."""
    for path in sorted((folder / PARTS).glob("part-*.parquet")):
        yield pl.read_parquet(path)
