"""Read records of any input into typed Parquet parts and a quarantine, file by file, restartable after each part.

`read_source` reads one file, part by part (`corpus.ingestion.part_writer`). A reading that was killed continues after
the last complete part, and the result has the same bytes as without the interruption. `build_dataset` then
builds one data set from all files.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from core.config.sections.source import SourceConfig
from core.errors import InputError, disk_errors
from core.processes.memory import kept_memory
from corpus.archives.names import is_pack
from corpus.ingestion.build_dataset import DATASET_FILE, assemble
from corpus.ingestion.part_writer import PartWriter, described_parts, read_json, saved_quarantine
from corpus.ingestion.parts import (
    PARTS,
    QUARANTINE_FILE,
    READING_FILE,
    QuarantineWriter,
    SourceReading,
    link_whole,
    spread,
    write_whole,
)
from corpus.reading.packs import PACK, Pack, all_sources
from corpus.reading.readers import Progress, read
from corpus.reading.sources import Source, cause_of, input_errors, originals
from corpus.schema import Limits

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
    renamed = {"fields": config.fields.renamed} if config.fields.renamed else {}
    return {name: getattr(config, name) for name in SETTINGS} | renamed


def limits_of(config: SourceConfig, now: datetime | None = None) -> Limits:
    """Return the limits for the readers, each the setting with the same name, and the names of the fields.

    Args:
        now: The present moment in UTC, if it is not that of the clock.
    """
    known = {field.name for field in fields(Limits)} & set(SETTINGS)
    limits = {name: getattr(config, name) for name in known}
    return Limits(block_bytes=BLOCK_BYTES, renamed=config.fields.renamed, now=now or datetime.now(UTC), **limits)


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
        known = is_pack(file.read(512))
    if known and source.path != folder / PACK:
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
