"""Read records of any input into typed Parquet parts and a quarantine, file by file.

`read_source` reads one file, part by part; `corpus/ingestion/build_dataset.py` then builds one data set from all files.
A reading that was killed begins again: its leftovers are removed, and the same file gives the same bytes.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.errors import InputError, disk_errors
from reviewlm.corpus.account import Entry, Outcome, merge_entries
from reviewlm.corpus.account_kinds import Kind
from reviewlm.corpus.ingestion.file_traits import FileTraits
from reviewlm.corpus.ingestion.forgotten import Forgotten
from reviewlm.corpus.ingestion.parts import (
    ENTRIES,
    PARTS,
    QUARANTINE_FILE,
    READING_FILE,
    QuarantineWriter,
    SourceReading,
    describe,
    link_whole,
    parquet_bytes,
    part_files,
    part_name,
    write_whole,
)
from reviewlm.corpus.reading.archives import is_pack
from reviewlm.corpus.reading.readers import Progress, read
from reviewlm.corpus.reading.sources import PACK, Listed, Pack, Source, cause_of, input_errors
from reviewlm.corpus.schema import REMEDIES, Block, ReadingOptions, Reason, whole_stars

PART_BYTES = 256 << 20
"""Approximate limit for a part: 100,000 reviews need a third of it, 100,000 books would fill the memory."""
MOST_TABLES = 500
"""Largest number of tables in memory: many small files give tables with few rows, and each table has an overhead."""
ODD_SHARE = 0.01
"""Share of a file's records in quarantine for one reason above which the account marks the entry as odd."""
DETAIL_LENGTH = 150
"""Characters that the account shows of what is wrong with a record."""
ROW_BYTES = 200
"""Estimated bytes of a row in addition to its longest column."""
BLOCK_BYTES = 8 << 20
"""Approximate size of a block of records."""
SETTINGS = ("max_chars", "max_record_bytes", "max_expansion", "part_rows")
"""Settings that change the result of reading a file."""
CHOICES = {
    "date_order": ("day", "month"),
    "ids": ("per_file",),
    "lowest_stars": (0,),
}
"""Settings that change the result of reading a file only if they have one of these values."""

Report = Callable[[int, int, int], None]
"""Progress callback: records done, bytes done, and bytes in total (of the files on disk)."""


class PartWriter:
    """A writer that cuts the stream of blocks into parts, and passes bad records on to a quarantine.

    A part has *part_rows* rows, or fewer if they reach `PART_BYTES` first.

    Args:
        folder: Folder of the parts.
        quarantine: Gets the bad records.
        part_rows: Largest number of rows in a part.

    Attributes:
        described: What `describe` says of the parts that are written.
        reasons: Number of bad records by reason.
        entries: What was repaired or left out.
        first_places: Source and line of the first bad record, by reason.
    """

    def __init__(
        self,
        folder: Path,
        quarantine: QuarantineWriter,
        part_rows: int,
    ) -> None:
        self.folder = folder
        self.quarantine = quarantine
        self.part_rows = part_rows
        self.described: list[dict[str, Any]] = []
        self.reasons: Counter[str] = Counter()
        self.entries: list[Entry] = []
        self.first_places: dict[str, str] = {}
        self.good: list[pl.DataFrame] = []
        self.rows = self.size = 0  # totals of the list, because it can be long

    def add(self, block: Block) -> None:
        """Take the next block."""
        good = block.good
        self.quarantine.add(block.bad)
        self.reasons.update(block.bad["reason"].to_list())
        self.entries = merge_entries([*self.entries, *block.entries])
        firsts = block.bad.unique("reason", keep="first", maintain_order=True)
        for row in firsts.iter_rows(named=True):
            why = row["detail"].partition(";")[0][:DETAIL_LENGTH]
            place = f"{row['reason']}, first in {row['source']}, line {row['line']}: {why}"
            self.first_places.setdefault(row["reason"], place)

        if good.height:
            self.good.append(good)
        if len(self.good) > MOST_TABLES:
            self.good = [pl.concat(self.good, rechunk=True)]

        self.rows += good.height
        self.size += _bytes(good)
        while self.rows >= self.part_rows or self.size >= PART_BYTES:
            rows = pl.concat(self.good)
            self._save(rows.head(self.part_rows))
            rest = rows.slice(self.part_rows)
            self.good = [rest] if rest.height else []
            self.rows = rest.height
            self.size = _bytes(rest)

    def finish(self) -> None:
        """Write the remaining rows."""
        if self.rows:
            self._save(pl.concat(self.good))

    def _save(self, rows: pl.DataFrame) -> None:
        write_whole(self.folder / f"{part_name(len(self.described))}.parquet", parquet_bytes(rows))
        self.described.append(describe(rows))


def _bytes(rows: pl.DataFrame) -> int:
    """Return the approximate memory of rows: the bytes of their texts plus `ROW_BYTES` for each."""
    return int(rows["text"].str.len_bytes().sum()) + ROW_BYTES * rows.height


def settings_of(config: SourceConfig) -> dict[str, Any]:
    """Return the settings that change the result of reading a file; names of fields only where they differ."""
    names = {**config.renamed_fields, **dict.fromkeys(sorted(config.unread_fields), "")}
    renamed = {"fields": names} if names else {}
    chosen = {name: getattr(config, name) for name, values in CHOICES.items()}
    chosen = {name: value for name, value in chosen.items() if value in CHOICES[name]}
    return {name: getattr(config, name) for name in SETTINGS} | renamed | chosen


def reading_options(config: SourceConfig, now: datetime | None = None) -> ReadingOptions:
    """Return the options for the readers, each the setting with the same name, and the names of the fields.

    Args:
        now: The present moment in UTC, if it is not that of the clock.
    """
    names = {field.name for field in fields(ReadingOptions)} & {*SETTINGS, *CHOICES}
    settings = {name: getattr(config, name) for name in names}
    return ReadingOptions(
        block_bytes=BLOCK_BYTES,
        renamed=config.renamed_fields,
        unread=config.unread_fields,
        now=now or datetime.now(UTC),
        **settings,
    )


def read_source(
    source: Source,
    folder: Path,
    config: SourceConfig,
    report: Report | None = None,
    now: datetime | None = None,
    forgotten: Forgotten | None = None,
) -> SourceReading:
    """Read one file into `folder`: `parts/`, `quarantine.parquet` and `read.json` (see `SourceReading`).

    If many small files were packed into one source, their archive (`sources.PACK`) is kept in the folder too.

    Args:
        source: The file; it must not have changed since `identify` hashed it.
        folder: Output folder; what is there is replaced.
        config: See `SETTINGS`.
        report: Called with the progress after each block.
        now: The present moment in UTC; later dates are refused.
        forgotten: Records that are left out; an entry counts them.

    Raises:
        Unreadable, MissingColumn, EmptyInput: See `corpus.reading.readers.read`; also if the file changes while read.
        StoreFull, NotWritable: The disk is full or not writable.
    """
    options = reading_options(config, now)
    with disk_errors(folder):
        traits = FileTraits(source.name, isinstance(source, Pack))
        leave_out = (forgotten or Forgotten()).without
        writer = _read_into(
            source,
            folder,
            config.part_rows,
            options,
            traits,
            leave_out,
            report,
        )
        # Dates like 03/04/2021 were read with the day first. Only all dates of a file show that the month is first.
        if month_first := traits.month_first(config.date_order):
            options = replace(options, month_first=month_first)
            traits = FileTraits(source.name, isinstance(source, Pack))
            writer = _read_into(
                source,
                folder,
                config.part_rows,
                options,
                traits,
                leave_out,
                report,
            )

        entries = [*writer.entries, *traits.entries(config.date_order)]
        return describe_reading(
            folder,
            source,
            config,
            writer.described,
            writer.reasons,
            entries,
            writer.first_places,
            fields=traits.fields(),
        )


def _read_into(
    source: Source,
    folder: Path,
    part_rows: int,
    options: ReadingOptions,
    traits: FileTraits,
    leave_out: Callable[[Block], Block],
    report: Report | None,
) -> PartWriter:
    """Write `parts/` and `quarantine.parquet` of a file into an empty folder; return the writer.

    Args:
        leave_out: Returns a block without the records that are not read, and with an entry for them.
    """
    shutil.rmtree(folder, ignore_errors=True)
    (folder / PARTS).mkdir(parents=True)
    path = _with_pack(source, folder)
    progress = Progress()
    records = 0
    with QuarantineWriter(folder / QUARANTINE_FILE) as quarantine:
        writer = PartWriter(folder / PARTS, quarantine, part_rows)
        try:
            for block in read(path, source.name, options, progress):
                records += block.records
                left = leave_out(block)
                writer.add(left)
                traits.add(left)
                if report:
                    report(records, progress.bytes_done, source.bytes)
        except InputError as error:
            raise cause_of(error, source) from error
        source.require_unchanged()
        writer.finish()

    if any(entry.kind is Kind.FORGOTTEN for entry in writer.entries):
        (folder / PACK).unlink(missing_ok=True)  # the archive of small files still holds them

    return writer


def describe_reading(
    folder: Path,
    source: Listed,
    config: SourceConfig,
    parts: Sequence[dict[str, Any]],
    reasons: Counter[str],
    entries: Iterable[Entry] = (),
    details: Mapping[str, str] | None = None,
    **more: Any,
) -> SourceReading:
    """Write `read.json` of a file that was read into *folder*, and return the reading.

    Args:
        parts: Its parts, see `describe`.
        reasons: Number of its records in quarantine, by reason.
        entries: What was repaired, left out or looks odd; those of the quarantine are added.
        details: What the account says of the records in quarantine, by reason.
        more: Further facts.
    """
    rows = sum(part["rows"] for part in parts)
    quarantined = reasons.total()
    words = details or {}
    bad = []
    for reason, count in sorted(reasons.items()):
        detail = words.get(reason, "")
        bad.append(
            _quarantine_entry(
                source.name,
                reason,
                count,
                detail,
                rows + quarantined,
            )
        )

    own = [entry_of_file(entry, source.name) for entry in entries]
    forgotten = sum(entry.count for entry in own if entry.kind is Kind.FORGOTTEN)
    facts: dict[str, Any] = {
        "name": source.name,
        "bytes": source.bytes,
        "sha256": source.sha256,
    }
    facts["settings"] = settings_of(config)
    facts["records"] = rows + quarantined + forgotten
    facts |= {
        "rows": rows,
        "quarantined": quarantined,
        "reasons": dict(sorted(reasons.items())),
    }
    facts["parts"] = parts
    facts[ENTRIES] = [entry.to_dict() for entry in merge_entries([*bad, *own])]
    facts |= more
    write_whole(folder / READING_FILE, orjson.dumps(facts, option=orjson.OPT_INDENT_2))
    return SourceReading(folder)


def _quarantine_entry(
    file: str,
    reason: str,
    count: int,
    detail: str,
    records: int,
) -> Entry:
    """Return the entry of the records in quarantine for one reason; a file that cannot be read counts as a file.

    Args:
        records: Number of all records of the file.
    """
    whole = reason == Reason.UNREADABLE_FILE
    outcome = Outcome.NOT_READ if whole else Outcome.SET_ASIDE
    odd = not whole and count > ODD_SHARE * records
    remedy = REMEDIES.get(Reason(reason), "")
    return Entry(
        "read",
        outcome,
        Kind(reason),
        count,
        file,
        detail,
        remedy,
        odd,
    )


def entry_of_file(entry: Entry, file: str) -> Entry:
    """Return an entry under the name of its file on disk; the detail says which member of an archive it concerns."""
    if entry.file in ("", file):
        return replace(entry, file=file)
    detail = f"in {entry.file.removeprefix(f'{file}:')}, {entry.detail or entry.title}"
    return replace(entry, file=file, detail=detail)


def _with_pack(source: Source, folder: Path) -> Path:
    """Return the path to read a source from; an archive of small files is put into the folder first."""
    if isinstance(source, Pack):
        return source.write(folder)
    with input_errors(source.path), source.path.open("rb") as file:
        packed = is_pack(file.read(512))
    if packed and source.path != folder / PACK:
        link_whole(source.path, folder / PACK)
    return source.path


def iter_parts(folder: Path) -> Iterator[pl.DataFrame]:
    """Yield the finished parts of an ingested data set, in order, each with the columns `COLUMNS`."""
    for path in part_files(folder):
        yield pl.read_parquet(path)


def count_by_file(folder: Path) -> pl.DataFrame:
    """Count records, quarantined ones, ratings, and ratings off the scale, for each `source` of an ingested data set.

    Each file in an archive counts on its own.
    """
    rated = pl.col("stars").is_not_null()
    off_scale = rated & (whole_stars() == 0)
    parts = pl.scan_parquet(folder / PARTS).group_by("source")
    good = parts.agg(
        records=pl.len(),
        rated=rated.sum(),
        off_scale=off_scale.sum(),
    )

    # Repeated ids are settled for the data set as a whole (`build_dataset.py`): they are no fault of one file.
    wrong = pl.col("reason") != Reason.DUPLICATE_ID
    quarantine = pl.scan_parquet(folder / QUARANTINE_FILE).group_by("source")
    bad = quarantine.agg(records=pl.len(), quarantined=wrong.sum())

    both = pl.concat([good, bad], how="diagonal")
    return both.group_by("source").sum().collect(engine="streaming")
