"""Records of any input → typed Parquet parts and a quarantine, file by file and restartable per part.

`read_source` reads one file. It writes a part of `source.part_rows` good records, the bad ones met on the way, and a
small JSON file that says where in the file the part ended. That JSON is written last and by renaming, so a part
either exists whole or does not exist; a reading that was killed goes on after the last whole part and yields the same
bytes as one that was not. `corpus.settle` then makes one data set of all files.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from corpus.parts import (
    PARTS,
    QUARANTINE_FILE,
    READING_FILE,
    QuarantineWriter,
    Reading,
    describe,
    parquet_bytes,
    part_name,
    spread,
    write_whole,
)
from corpus.readers import Progress, read
from corpus.schema import QUARANTINE, Block, Limits
from corpus.settle import DATASET_FILE, assemble
from corpus.sources import Source, cause_of, identify, originals, source_names
from reviewlm.config import SourceConfig
from reviewlm.errors import InputError, disk_errors

log = logging.getLogger(__name__)

BLOCK_BYTES = 8 << 20
JOURNAL = "journal"
READINGS = "readings"
SETTINGS = ("max_chars", "max_record_bytes", "max_expansion", "part_rows")
"""The settings on which the reading of a file depends."""

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
        folder: Where to write; what a killed run of the same inputs left there is used, anything else is replaced.
        config: Longest text, rows per part and so on: `SETTINGS`.
        report: Told the progress after each block.

    Returns:
        Facts, see `corpus.settle.assemble`.

    Raises:
        EmptyInput: No records, or all of them bad.
        Unreadable: An input is missing, damaged, cut off, in no known format, or changed while it was read.
        MissingColumn: A file has no text.
        StoreFull, NotWritable: The disk.
    """
    sources = [identify(path, name) for path, name in source_names(inputs).items()]
    if (done := _finished(folder, sources, config)) is not None:
        return done
    chosen = originals(sources)
    total = sum(source.bytes for source in chosen.values())
    readings: dict[str, Reading] = {}
    records = size = 0
    with disk_errors(folder):
        for digest, source in chosen.items():
            def tell(more: int, done: int, _: int, records: int = records, size: int = size) -> None:
                if report:
                    report(records + more, size + done, total)

            readings[digest] = read_source(source, folder / READINGS / _key(source, config), config, tell)
            records, size = records + readings[digest].facts["records"], size + source.bytes
        facts = assemble(folder, sources, readings)
        shutil.rmtree(folder / READINGS)
    return facts


def _finished(folder: Path, sources: Sequence[Source], config: SourceConfig) -> IngestFacts | None:
    """Return the facts of a data set that was made of the same files with the same settings."""
    facts = _json(folder / DATASET_FILE)
    if not facts or facts["settings"] != settings_of(config):
        return None
    files = [(source.name, source.sha256) for source in sources]
    return dict(facts) if [(entry["name"], entry["sha256"]) for entry in facts["sources"]] == files else None


def _key(source: Source, config: SourceConfig) -> str:
    """Return the name of the folder in which a file is read."""
    return hashlib.sha256(json.dumps([source.name, source.sha256, settings_of(config)]).encode()).hexdigest()[:16]


def settings_of(config: SourceConfig) -> dict[str, Any]:
    """Return the settings on which the reading of a file depends."""
    return {name: getattr(config, name) for name in SETTINGS}


def limits_of(config: SourceConfig) -> Limits:
    """Return the limits of the readers; each is the setting of the same name."""
    known = {field.name for field in fields(Limits)} & set(SETTINGS)
    return Limits(block_bytes=BLOCK_BYTES, **{name: getattr(config, name) for name in known})


def read_source(source: Source, folder: Path, config: SourceConfig, report: Report | None = None) -> Reading:
    """Read one file into `folder`: `parts/`, `quarantine.parquet` and `read.json` (see `Reading`).

    Args:
        source: The file as it was identified; it must not have changed since.
        folder: What a killed reading of the same file left there is used, anything else is removed.
        config: See `SETTINGS`.
        report: Told the progress after each block.

    Raises:
        Unreadable, MissingColumn, EmptyInput: See `corpus.readers.read`; also where the file changes meanwhile.
        StoreFull, NotWritable: The disk.
    """
    about = {"name": source.name, "bytes": source.bytes, "sha256": source.sha256, "settings": settings_of(config)}
    journal = folder / JOURNAL
    with disk_errors(folder):
        if not (folder / READING_FILE).exists():
            _prepare_folder(folder, {**about, "block_bytes": BLOCK_BYTES})
            _read_parts(source, folder, config, report or (lambda records, done, total: None))
            _finish(folder, about)
        shutil.rmtree(journal, ignore_errors=True)
    return Reading(folder)


def _prepare_folder(folder: Path, request: dict[str, Any]) -> None:
    """Keep what an interrupted reading of the same file left; remove everything else."""
    journal = folder / JOURNAL
    if _json(journal / "request.json") != request:
        shutil.rmtree(folder, ignore_errors=True)
        (folder / PARTS).mkdir(parents=True)
        journal.mkdir()
        write_whole(journal / "request.json", json.dumps(request).encode())


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _read_parts(source: Source, folder: Path, config: SourceConfig, report: Report) -> None:
    progress = Progress()
    with _PartWriter(folder, config.part_rows) as writer:
        if writer.complete:
            return
        try:
            for block in read(source.path, source.name, limits_of(config), progress):
                progress.records += block.records
                writer.add(block)
                report(progress.records, progress.bytes_done, source.bytes)
        except InputError as error:
            raise cause_of(error, source) from error
        source.require_unchanged()
        writer.finish()


def _finish(folder: Path, about: dict[str, Any]) -> None:
    """Join the bad records of all parts and write the facts."""
    journal = folder / JOURNAL
    places = [_json(journal / f"{part_name(number)}.json") for number in range(finished_parts(journal))]
    reasons: Counter[str] = Counter()
    with QuarantineWriter(folder / QUARANTINE_FILE) as quarantine:
        for number in range(len(places)):
            bad = pl.read_parquet(journal / f"{part_name(number)}.bad.parquet")
            reasons.update(bad["reason"].to_list())
            quarantine.add(bad)
    parts = [place["part"] for place in places if place["part"]["rows"]]
    rows, quarantined = spread(parts)["rows"], sum(reasons.values())
    facts = {
        **about, "records": rows + quarantined, "rows": rows, "quarantined": quarantined,
        "reasons": dict(sorted(reasons.items())), "parts": parts,
    }
    write_whole(folder / READING_FILE, orjson.dumps(facts, option=orjson.OPT_INDENT_2))


def finished_parts(journal: Path) -> int:
    """Return how many parts stand whole, counted from the first."""
    number = 0
    while (journal / f"{part_name(number)}.json").exists():
        number += 1
    return number


class _PartWriter:
    """Cuts the stream of blocks into parts of exactly *part_rows* rows and remembers where each part ended.

    The place is (blocks read, rows of the next block already written). The bad records of a block go with the first
    part that is written after the block was met, so after a part that ended inside a block they are already saved.
    A part is written in a thread while the next one is read; never are two under way.
    """

    def __init__(self, folder: Path, part_rows: int) -> None:
        self.folder, self.journal, self.part_rows = folder / PARTS, folder / JOURNAL, part_rows
        self.parts = finished_parts(self.journal)
        last = _json(self.journal / f"{part_name(self.parts - 1)}.json") if self.parts else {"blocks": 0, "rows": 0}
        self.complete = bool(last.get("last"))
        self.skip_blocks, self.skip_rows = last["blocks"], last["rows"]
        self.blocks = 0
        self.good: list[pl.DataFrame] = []
        self.bad: list[pl.DataFrame] = []
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="part")
        self.saving: Future[None] | None = None
        if self.parts:
            log.info("%d parts were finished before; reading goes on after them", self.parts)

    def __enter__(self) -> _PartWriter:
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        self.thread.shutdown()
        if kind is None:
            self._wait()

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
        """Write what is left; also when that is nothing, so that the end of the file is on record."""
        rows = pl.concat(self.good) if self.good else None
        self._save(rows, {"blocks": self.blocks, "rows": 0, "last": True})

    def _save(self, rows: pl.DataFrame | None, place: dict[str, Any]) -> None:
        bad = pl.concat(self.bad) if self.bad else pl.DataFrame(schema=QUARANTINE)
        self._wait()
        self.saving = self.thread.submit(self._put, part_name(self.parts), rows, bad, place)
        self.parts += 1
        self.bad = []

    def _wait(self) -> None:
        """Wait for the part that is being written; raises what that raised."""
        if self.saving is not None:
            self.saving.result()

    def _put(self, name: str, rows: pl.DataFrame | None, bad: pl.DataFrame, place: dict[str, Any]) -> None:
        if rows is not None and rows.height:
            write_whole(self.folder / f"{name}.parquet", parquet_bytes(rows))
            part = describe(rows)
        else:
            part = {"rows": 0}
        write_whole(self.journal / f"{name}.bad.parquet", parquet_bytes(bad))
        write_whole(self.journal / f"{name}.json", json.dumps({**place, "part": part}).encode())


def iter_parts(folder: Path) -> Iterator[pl.DataFrame]:
    """Yield the finished parts of an ingested dataset, in order, each with the columns of `COLUMNS`."""
    for path in sorted((folder / PARTS).glob("part-*.parquet")):
        yield pl.read_parquet(path)
