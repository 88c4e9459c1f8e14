"""Build one data set from source files that have been read: drop repeated ids, join the quarantine, collect facts.

The read parts themselves do not change. Parts without repeated ids get a second name (a hard link); the others are
written again. `dataset.json` is written last.

Repeated review_ids are found with little memory. The first pass uses only 64-bit hashes of the ids: 8 bytes per row.
Only rows whose hash occurs twice are fetched and compared by their ids.
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl

from reviewlm.core.errors import TO_UTF8, EmptyInput
from reviewlm.corpus.ingestion.parts import (
    PARTS,
    QUARANTINE_FILE,
    SET_ASIDE,
    QuarantineWriter,
    SourceReading,
    added,
    content_of,
    describe,
    iter_quarantine,
    link_whole,
    parquet_bytes,
    part_name,
    spread,
    write_whole,
)
from reviewlm.corpus.reading.convert import IS_DERIVED
from reviewlm.corpus.reading.sources import Listed, originals
from reviewlm.corpus.schema import COLUMNS, FIELDS, QUARANTINE, Reason
from reviewlm.models.threads import ordered


@dataclass(frozen=True)
class RepeatedIds:
    """The effect of repeated ids on the rows, which are numbered over all parts.

    `losers` are dropped in favour of another row with their id; `identical` marks those with exactly the same record.
    `renamed` are records without an id in the source, which are never duplicates: the n-th occurrence of a derived id
    gets the suffix `-n`, with n in `occurrence`. Row numbers ascend.
    """

    losers: np.ndarray
    identical: np.ndarray
    renamed: np.ndarray
    occurrence: np.ndarray

    def of_rows(self, start: int, end: int) -> RepeatedIds:
        """Return the repeats of the rows start … end-1, numbered from 0."""
        lost = slice(*np.searchsorted(self.losers, [start, end]))
        new = slice(*np.searchsorted(self.renamed, [start, end]))
        return RepeatedIds(
            self.losers[lost] - start,
            self.identical[lost],
            self.renamed[new] - start,
            self.occurrence[new],
        )

    def __bool__(self) -> bool:
        return bool(self.losers.size or self.renamed.size)


def find_repeats(paths: Sequence[Path]) -> RepeatedIds:
    """Find repeated ids.

    Of records that share an id from the source, the newest by date is kept. An unknown date counts as older than any
    date. If dates are equal, the last record in order is kept.

    Args:
        paths: Parts with at least `FIELDS`, in order.
    """
    table, name = pl.scan_parquet(list(paths), row_index_name="row"), pl.col("review_id").hash()
    hashes = np.sort(table.select(name).collect(engine="streaming").to_series().to_numpy())
    repeated = pl.Series(np.unique(hashes[1:][hashes[1:] == hashes[:-1]]))
    rows = table.filter(name.is_in(repeated.implode())).select(
        "review_id", "date", pl.col("row").cast(pl.Int64), content=pl.struct(FIELDS).hash()
    )
    losers, identical, renamed, occurrence = _compare(rows.collect(engine="streaming"))
    by_loser = np.argsort(losers)
    return RepeatedIds(losers[by_loser], identical[by_loser], renamed, occurrence)


def _compare(rows: pl.DataFrame) -> tuple[np.ndarray, ...]:
    """Return losers, a mask of those identical to the kept row, rows to rename, and their occurrence numbers."""
    rows = rows.sort("row").filter(pl.len().over("review_id") > 1)
    derived = rows["review_id"].str.contains(IS_DERIVED)
    newest = (
        rows.filter(~derived)
        .sort("date", "row", nulls_last=False)
        .group_by("review_id")
        .agg(pl.col("row").last().alias("kept"), pl.col("content").last().alias("kept_content"))
    )
    losers = (
        rows.filter(~derived).join(newest, on="review_id").filter(pl.col("row") != pl.col("kept"))
    )
    renamed = (
        rows.filter(derived)
        .with_columns(occurrence=pl.col("row").cum_count().over("review_id").cast(pl.Int32))
        .filter(pl.col("occurrence") > 1)
    )
    return (
        losers["row"].to_numpy(),
        (losers["content"] == losers["kept_content"]).to_numpy(),
        renamed["row"].to_numpy(),
        renamed["occurrence"].to_numpy(),
    )


log = logging.getLogger(__name__)
DATASET_FILE = "dataset.json"
AT_A_TIME = 2
"""Parts that are written again at the same time: each takes about four times the memory of its rows."""


def assemble(
    folder: Path, sources: Sequence[Listed], readings: Mapping[str, SourceReading]
) -> dict[str, Any]:
    """Write `parts/`, `quarantine.parquet` and `dataset.json` from sources that have been read.

    Files with the same bytes count once: copies are listed with `same_as`, and their records count as duplicates. The
    order of the sources is the order of the rows.

    Args:
        folder: Output folder; existing files with these names are replaced.
        sources: All source files, in order.
        readings: The readings, by `Listed.key` of the file.

    Returns:
        Facts: records, rows, quarantined, duplicates (`superseded` by a newer record with the same id, `identical`
        to it, or in a `copied` file), reasons, parts, bytes, input_bytes, date_min, date_max, content_sha256,
        settings and `sources` as in `dataset.json`. records = rows + quarantined + duplicates, in each source too.

    Raises:
        EmptyInput: There is no record, or no good one; the error gives the most common reason and its first place.
    """
    chosen = originals(sources)
    used = [readings[key] for key in chosen]
    _require_rows(sources, used)
    _warn_of_copies(used)
    (folder / DATASET_FILE).unlink(
        missing_ok=True
    )  # while files are replaced, there must be no valid data set
    shutil.rmtree(folder / PARTS, ignore_errors=True)
    (folder / PARTS).mkdir(parents=True)
    repeats = find_repeats([path for reading in used for path in reading.paths])
    settled: dict[str, dict[str, Any]] = {}
    with QuarantineWriter(folder / QUARANTINE_FILE) as quarantine:
        writer = _Parts(folder / PARTS, repeats, quarantine)
        for source, reading in zip(chosen.values(), used, strict=True):
            for bad in iter_quarantine(reading.quarantine):
                quarantine.add(bad)
            settled[source.key] = writer.add_source(reading)
    entries = [_entry(source, chosen[source.key], settled[source.key]) for source in sources]
    facts = _facts(entries, writer, used)
    write_whole(folder / DATASET_FILE, orjson.dumps(facts, option=orjson.OPT_INDENT_2))
    return facts


class _Parts:
    """A writer of the parts of a data set that also adds up their facts."""

    def __init__(self, folder: Path, repeats: RepeatedIds, quarantine: QuarantineWriter) -> None:
        self.folder, self.repeats, self.quarantine = folder, repeats, quarantine
        self.row = self.superseded = self.identical = 0
        self.described: list[dict[str, Any]] = []

    def add_source(self, reading: SourceReading) -> dict[str, Any]:
        """Add the parts of a source; return the entry of the source in the manifest."""
        first, lost = len(self.described), self.superseded + self.identical
        for part in ordered(_without_repeats, self._numbered(reading), AT_A_TIME, ahead=0):
            self._add(part)
        mine = self.described[first:]
        aside = {SET_ASIDE: reading.facts[SET_ASIDE]} if SET_ASIDE in reading.facts else {}
        return {
            **aside,
            "records": reading.facts["records"],
            **spread(mine),
            "quarantined": reading.facts["quarantined"],
            "duplicates": self.superseded + self.identical - lost,
            "parts": [f"{part_name(number)}.parquet" for number in range(first, first + len(mine))],
        }

    def _numbered(
        self, reading: SourceReading
    ) -> Iterator[tuple[Path, dict[str, Any], RepeatedIds]]:
        """Yield each part of a source with its description and the repeated ids among its rows."""
        for path, part in zip(reading.paths, reading.facts["parts"], strict=True):
            start, self.row = self.row, self.row + part["rows"]
            yield path, part, self.repeats.of_rows(start, self.row)

    def _add(self, part: _Part) -> None:
        if part.dropped is not None:
            self.quarantine.add(part.dropped)
            self.identical += part.identical
            self.superseded += part.dropped.height - part.identical
        if part.described is None:
            return
        new = self.folder / f"{part_name(len(self.described))}.parquet"
        if isinstance(part.content, Path):
            link_whole(part.content, new)
        else:
            write_whole(new, part.content)
        self.described.append(part.described)


@dataclass(frozen=True)
class _Part:
    """A part without the rows that leave.

    Attributes:
        content: The bytes of its file, or a file with these bytes.
        described: See `reviewlm.corpus.ingestion.parts.describe`; None if no row stays.
        dropped: The rows that left, as quarantine records; None if the part stays as it was read.
        identical: Number of those that are the same as the row that stays.
    """

    content: Path | memoryview
    described: dict[str, Any] | None
    dropped: pl.DataFrame | None = None
    identical: int = 0


def _without_repeats(item: tuple[Path, dict[str, Any], RepeatedIds]) -> _Part:
    """Rename and drop the rows of a part that repeat the id of another row."""
    path, part, repeats = item
    if not repeats:
        return _Part(path, part)
    frame, content = _rename(pl.read_parquet(path), repeats, added([part["content"]]))
    dropped = frame[repeats.losers]
    remaining = frame[np.delete(np.arange(frame.height), repeats.losers)]
    described = describe(remaining, content - content_of(dropped)) if remaining.height else None
    gone = _as_quarantine(dropped, repeats.identical)
    return _Part(
        parquet_bytes(remaining) if remaining.height else path,
        described,
        gone,
        int(repeats.identical.sum()),
    )


def _rename(
    frame: pl.DataFrame, repeats: RepeatedIds, content: np.ndarray
) -> tuple[pl.DataFrame, np.ndarray]:
    """Add suffixes to repeated derived ids, and correct the sum of the row hashes."""
    if not repeats.renamed.size:
        return frame, content
    ids = frame["review_id"][repeats.renamed]
    endings = pl.Series("n", repeats.occurrence).cast(pl.String)
    changed = frame.with_columns(frame["review_id"].scatter(repeats.renamed, ids + "-" + endings))
    content = content - content_of(frame[repeats.renamed]) + content_of(changed[repeats.renamed])
    return changed, content


def _as_quarantine(dropped: pl.DataFrame, identical: np.ndarray) -> pl.DataFrame:
    """Return dropped rows as quarantine records; identical ones get no raw bytes, since the data set has the record."""
    raws = [
        b"" if same else orjson.dumps(row)
        for same, row in zip(
            identical.tolist(), dropped.select(list(COLUMNS)).iter_rows(named=True), strict=True
        )
    ]
    details = [
        f"the same record with the review_id {name!r} is in the data set"
        if same
        else f"another record with the review_id {name!r} is newer"
        for same, name in zip(identical.tolist(), dropped["review_id"], strict=True)
    ]
    columns = {
        "source": dropped["source"],
        "line": dropped["line"],
        "reason": [Reason.DUPLICATE_ID.value] * len(raws),
        "detail": details,
        "raw": raws,
    }
    return pl.DataFrame(columns, schema=QUARANTINE)


def _entry(source: Listed, original: Listed, settled: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry of a source in the manifest; all records of a copy are duplicates."""
    about = {"name": source.name, "bytes": source.bytes, "sha256": source.sha256}
    if source == original:
        return {**about, **settled, "text_bytes": settled["bytes"], "bytes": source.bytes}
    records = settled["records"]
    nothing = {
        "rows": 0,
        "quarantined": 0,
        "duplicates": records,
        "date_min": None,
        "date_max": None,
        "parts": [],
    }
    return {**about, "records": records, **nothing, "text_bytes": 0, "same_as": original.name}


def _facts(
    entries: list[dict[str, Any]], writer: _Parts, used: Sequence[SourceReading]
) -> dict[str, Any]:
    totals = {
        name: sum(entry[name] for entry in entries)
        for name in ("records", "rows", "quarantined", "duplicates")
    }
    copied = sum(entry["records"] for entry in entries if "same_as" in entry)
    return {
        **totals,
        "superseded": writer.superseded,
        "identical": writer.identical,
        "copied": copied,
        "reasons": dict(sorted(_reasons(used).items())),
        "parts": len(writer.described),
        **{name: value for name, value in spread(writer.described).items() if name != "rows"},
        "input_bytes": sum(entry["bytes"] for entry in entries),
        "content_sha256": added([part["content"] for part in writer.described]).tobytes().hex(),
        "settings": used[0].facts["settings"],
        "sources": entries,
    }


def _warn_of_copies(used: Sequence[SourceReading]) -> None:
    """Warn of files that hold the same reviews in another form: without ids they are not told from other reviews."""
    first: dict[bytes, str] = {}
    for reading in used:
        content, name = (
            added([part["content"] for part in reading.facts["parts"]]).tobytes(),
            reading.facts["name"],
        )
        if reading.facts["rows"] and (other := first.setdefault(content, name)) != name:
            log.warning("%s holds exactly the reviews of %s: leave one of the two out", name, other)


def _require_rows(sources: Sequence[Listed], used: Sequence[SourceReading]) -> None:
    """Raise EmptyInput if no record is good."""
    if any(reading.facts["rows"] for reading in used):
        return
    if not (records := sum(reading.facts["records"] for reading in used)):
        raise no_records(sources)
    reasons = _reasons(used)
    common, count = max(sorted(reasons.items()), key=lambda item: item[1])
    reading = next(reading for reading in used if common in reading.facts["reasons"])
    bad = (
        pl.scan_parquet(reading.quarantine)
        .filter(pl.col("reason") == common)
        .head(1)
        .collect()
        .row(0, named=True)
    )
    remedy = (
        "correct the input; `reviewlm data quarantine show` with the same --input lists all reasons"
    )
    raise EmptyInput(
        f"None of the {records} records can be used",
        where=f"{bad['source']}, line {bad['line']}",
        value=bad["raw"][:200],
        cause=f"{count} of them: {common} ({bad['detail']})",
        remedy=f"{TO_UTF8}; or {remedy}" if common == Reason.ENCODING else remedy,
    )


def no_records(sources: Iterable[Listed]) -> EmptyInput:
    """Return the error for files that are all empty."""
    names = ", ".join(source.name for source in sources)
    return EmptyInput(
        "The input holds no records", where=names, remedy="check that these are the files you mean"
    )


def _reasons(used: Sequence[SourceReading]) -> Counter[str]:
    """Return how many records of some readings have each reason."""
    return sum((Counter(reading.facts["reasons"]) for reading in used), Counter[str]())
