"""Build one data set from source files that have been read: settle repeated ids, join the quarantine, add up the account.

The read parts themselves do not change. Parts without repeated ids get a second name (a hard link); the others are
written again. `dataset.json` is written last.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl

from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.errors import EmptyInput, InputError
from reviewlm.core.store import note_sha256
from reviewlm.corpus.account import ACCOUNT, Account, Entry, Outcome, entries_of, merge_entries
from reviewlm.corpus.account_kinds import Kind
from reviewlm.corpus.ingestion.file_traits import lacking_fields
from reviewlm.corpus.ingestion.parts import (
    ENTRIES,
    PARTS,
    QUARANTINE_FILE,
    SET_ASIDE,
    QuarantineWriter,
    SourceReading,
    add_contents,
    content_of,
    describe,
    iter_quarantine,
    link_whole,
    parquet_bytes,
    part_name,
    spread,
    write_whole,
)
from reviewlm.corpus.ingestion.repeated_ids import Fate, RepeatedIds, find_repeats, suffix_of
from reviewlm.corpus.reading.known_names import unread
from reviewlm.corpus.reading.sources import Listed, originals
from reviewlm.corpus.schema import COLUMNS, QUARANTINE, REMEDIES, Reason
from reviewlm.models.dataflow import Dataflow, FilePiece
from reviewlm.models.threads import map_in_order

DATASET_FILE = "dataset.json"
MANY_REPLACED = 0.01
"""Share of the records of a file from which on it is odd that others of it, with other texts, have replaced them."""
MOST_WINNERS = 3
"""Files that are named as those whose records stay."""
FEW_REPLACED = 5
"""Records of a file that others of it may replace whatever their share is."""
AT_A_TIME = 2
"""Parts that are written again at the same time: each takes about four times the memory of its rows."""
KINDS = {
    Fate.IDENTICAL: Kind.SAME_RECORD,
    Fate.SAME_TEXT: Kind.SAME_TEXT,
    Fate.OTHER_TEXT: Kind.OTHER_TEXT,
}
"""Kinds of entries of records with a repeated id."""
KINDS_OF_TIED = {
    Fate.SAME_TEXT: Kind.SAME_TEXT_SAME_DATE,
    Fate.OTHER_TEXT: Kind.OTHER_TEXT_SAME_DATE,
}
"""The same where the record that stays has the same date."""


def assemble(
    folder: Path,
    sources: Sequence[Listed],
    readings: Mapping[str, SourceReading],
    config: SourceConfig | None = None,
    read_order: Mapping[str, int] | None = None,
    engine: Dataflow | None = None,
) -> dict[str, Any]:
    """Write `parts/`, `quarantine.parquet` and `dataset.json` from sources that have been read.

    Files with the same bytes count once: copies are listed with `same_as`, and their records count as duplicates. The
    order of the sources is the order of the rows.

    Args:
        folder: Output folder; existing files with these names are replaced.
        sources: All source files, in order.
        readings: The readings, by `Listed.key` of the file.
        config: What an id names (`ids`), and how many may be those of other reviews (`max_reused_ids`, `max_replaced`).
        read_order: The place of each file, by its key, in the order in which the files were read for the first time;
            None: that of the sources. Of records with equal ids and dates, that of the file read later stays.
        engine: Who looks for repeated ids, and writes their parts again; default: threads.

    Returns:
        Facts: records, rows, quarantined, duplicates (`superseded` by a newer record with the same id, `identical`
        to it, or in a `copied` file), reasons, parts, bytes, input_bytes, date_min, date_max, content_sha256,
        settings, `sources` as in `dataset.json`, and the account (`corpus.account`). records = rows + quarantined +
        duplicates, in each source too.

    Raises:
        EmptyInput: There is no record, or no good one; the error gives the most common reason and its first place.
        InputError: Too many records have the id of another review, or of another text in their file.
    """
    config = config or SourceConfig()
    chosen = originals(sources)
    used = [readings[key] for key in chosen]
    _require_rows(sources, used)
    # While files are replaced, there must be no valid data set.
    (folder / DATASET_FILE).unlink(missing_ok=True)
    shutil.rmtree(folder / PARTS, ignore_errors=True)
    (folder / PARTS).mkdir(parents=True)
    paths = [path for reading in used for path in reading.paths]
    ends = np.cumsum([reading.facts["rows"] for reading in used]).tolist()
    if read_order:
        ranks = [read_order[key] for key in chosen]
    else:
        ranks = list(range(len(used)))

    repeats = find_repeats(
        paths,
        ends,
        ranks,
        always_one=config.ids == "newest",
        engine=engine,
    )
    _require_few_reused(repeats, paths, ends[-1], config)
    if config.ids != "newest":
        _require_few_replaced(
            repeats,
            paths,
            list(chosen.values()),
            ends,
            config,
        )

    settled: dict[str, dict[str, Any]] = {}
    with QuarantineWriter(folder / QUARANTINE_FILE) as quarantine:
        parts = _parts_of(used, repeats, folder / PARTS, engine)
        writer = _Parts(folder / PARTS, parts, quarantine)
        for source, reading in zip(chosen.values(), used, strict=True):
            for bad in iter_quarantine(reading.quarantine):
                quarantine.add(bad)
            settled[source.key] = writer.add_source(reading)

    entries = [_entry(source, chosen[source.key], settled[source.key]) for source in sources]
    facts = _facts(entries, writer, used)
    names = [source.name for source in chosen.values()]
    account = _account(
        entries,
        names,
        used,
        repeats,
        ends,
    )
    account.require_sum(facts["rows"])
    facts = {**facts, ACCOUNT: account.to_dict()}
    write_whole(folder / DATASET_FILE, orjson.dumps(facts, option=orjson.OPT_INDENT_2))
    return facts


def _require_few_reused(
    repeats: RepeatedIds,
    paths: Sequence[Path],
    rows: int,
    config: SourceConfig,
) -> None:
    """Raise InputError if too many records have the id of another review."""
    others = int((repeats.occurrence == 0).sum())
    if others <= config.max_reused_ids * rows:
        return

    pair = _rows_of(paths, repeats.example)
    places = []
    for row in pair.iter_rows(named=True):
        places.append(
            f"{row['source']}, line {row['line']} (user {row['user_id']}, business {row['business_id']})"
        )

    raise InputError(
        "Different reviews have the same review_id",
        where="; ".join(dict.fromkeys(pair["source"].to_list())),
        value=f"{pair['review_id'][0]!r}: {' and '.join(places)}",
        cause=f"{others:,} of {rows:,} records have the id of a review with another user, business or text; files that "
        "were exported apart often count their records from 1",
        remedy="if the ids count in each file: --set source.ids=per_file; if the later record of an id corrects the "
        f"earlier one: --set source.ids=newest; "
        f"if the field names no reviews, do not read it: {unread('review_id')}; to keep all with new ids, raise "
        "the limit: source.max_reused_ids (now "
        f"{config.max_reused_ids:g})",
    )


def _rows_of(paths: Sequence[Path], rows: Sequence[int]) -> pl.DataFrame:
    """Return some rows of the parts, by their numbers."""
    table = pl.scan_parquet(list(paths), row_index_name="row")
    return table.filter(pl.col("row").is_in(list(rows))).collect().sort("row")


def _require_few_replaced(
    repeats: RepeatedIds,
    paths: Sequence[Path],
    files: Sequence[Listed],
    ends: Sequence[int],
    config: SourceConfig,
) -> None:
    """Raise InputError if other texts of the same file have replaced too many of its records: the field is no id."""
    other = repeats.beside & (repeats.fate == Fate.OTHER_TEXT)
    file_of = np.searchsorted(ends, repeats.losers[other], side="right")
    counts = np.bincount(file_of, minlength=len(ends))
    sizes = np.diff([0, *ends])
    bad = np.flatnonzero((counts > config.max_replaced * sizes) & (counts > FEW_REPLACED))
    if not bad.size:
        return

    file = int(bad[0])
    loser = int(np.flatnonzero(other)[file_of == file][0])
    pair = _rows_of(paths, [int(repeats.losers[loser]), int(repeats.winners[loser])])
    name = config.renamed_fields.get("review_id", "review_id")
    places = [f"{row['source']}, line {row['line']}" for row in pair.iter_rows(named=True)]
    raise InputError(
        f"The field {name!r} names no reviews: many records of a file have one id, with other texts",
        where=files[file].name,
        value=f"{pair['review_id'][0]!r}: {' and '.join(places)}",
        cause=f"{counts[file]:,} of {sizes[file]:,} records would be replaced by others of the file; it may be the id "
        "of a business, an app or an export",
        remedy=f"do not read it: {unread('review_id')}; if the newest record of an id corrects the others: "
        "--set source.ids=newest; or raise the limit: source.max_replaced (now "
        f"{config.max_replaced:g})",
    )


def _account(
    entries: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    used: Sequence[SourceReading],
    repeats: RepeatedIds,
    ends: Sequence[int],
) -> Account:
    """Return the account of a data set: what reading each file said, what became of repeated ids, copies of files.

    Args:
        entries: The entry of each source in the manifest.
        names: Name of each file in *used*, under which it is listed now.
        ends: For each of them, the number of the row after its last one.
    """
    unreadable = {}
    for name, reading in zip(names, used, strict=True):
        unreadable[name] = reading.facts["reasons"].get(Reason.UNREADABLE_FILE.value, 0)

    records = {}
    for entry in entries:
        read_as = entry.get("same_as", entry["name"])
        records[entry["name"]] = entry["records"] - unreadable[read_as]

    of_files = []
    for name, reading in zip(names, used, strict=True):
        of_files += [replace(one, file=name) for one in entries_of(reading.facts[ENTRIES])]

    facts = [{**reading.facts, "name": name} for name, reading in zip(names, used, strict=True)]
    copies = []
    for entry in entries:
        if "same_as" in entry:
            name = entry["name"]
            detail = f"the same bytes as {entry['same_as']}, whose records are used"
            copies.append(
                Entry(
                    "ingest",
                    Outcome.COPY,
                    Kind.COPY_OF_FILE,
                    records[name],
                    name,
                    detail,
                )
            )

    settled = entries_of_repeats(repeats, names, ends)
    every = [
        *of_files,
        *_without_records(facts),
        *lacking_fields(facts),
        *_same_reviews(facts),
        *copies,
        *settled,
    ]
    return Account(records, tuple(merge_entries(every)))


def entries_of_repeats(
    repeats: RepeatedIds,
    names: Sequence[str],
    ends: Sequence[int],
) -> list[Entry]:
    """Return the entries of the records with repeated ids, by file.

    Args:
        names: Name of each file.
        ends: For each file, the number of the row after its last one.
    """
    file = np.searchsorted(ends, repeats.losers, side="right")
    winner = np.searchsorted(ends, repeats.winners, side="right")
    columns = {
        "file": file,
        "winner": winner,
        "fate": repeats.fate,
        "tied": repeats.tied,
    }
    table = pl.DataFrame(columns)
    groups = table.group_by("file", "fate", "tied", maintain_order=True).agg(
        pl.len().alias("count"), pl.col("winner").unique().sort()
    )
    sizes = np.diff([0, *ends])
    entries = []
    for row in groups.iter_rows(named=True):
        entries.append(_entry_of_replaced(row, names, int(sizes[row["file"]])))

    others = repeats.renamed[repeats.occurrence == 0]
    files, counts = np.unique(np.searchsorted(ends, others, side="right"), return_counts=True)
    for file, count in zip(files, counts, strict=True):
        entries.append(
            Entry(
                "ingest",
                Outcome.REPAIRED,
                Kind.ID_OF_ANOTHER,
                int(count),
                names[file],
                "records with the id of a review by another user, of another business or with another text are "
                "reviews of their own, and get a new id",
                "if the ids count in each file: --set source.ids=per_file",
                odd=True,
            )
        )

    return entries


def _without_records(files: Sequence[Mapping[str, Any]]) -> list[Entry]:
    """Return an entry for each file without a record; programs that write many parts leave such parts empty."""
    entries = []
    for file in files:
        if not file["records"]:
            detail = "the file holds no record"
            odd = not Path(file["name"]).name.startswith("part-")
            remedy = "check that it is complete" if odd else ""
            kind = Kind.NO_RECORDS
            entries.append(
                Entry(
                    "read",
                    Outcome.NOT_READ,
                    kind,
                    1,
                    file["name"],
                    detail,
                    remedy,
                    odd,
                )
            )

    return entries


def _entry_of_replaced(
    row: Mapping[str, Any],
    names: Sequence[str],
    records: int,
) -> Entry:
    """Return the entry of the replaced records of one file, which has so many *records*."""
    fate = Fate(row["fate"])
    file = names[row["file"]]
    if fate is Fate.IDENTICAL:
        return Entry(
            "ingest",
            Outcome.COPY,
            KINDS[fate],
            row["count"],
            file,
        )

    winners = [names[winner] for winner in row["winner"]]
    shown = ", ".join(winners[:MOST_WINNERS]) + (" and others" if winners[MOST_WINNERS:] else "")
    across = winners != [file]
    many = fate is Fate.OTHER_TEXT and not across and row["count"] > MANY_REPLACED * records
    no_ids = f"if they are other reviews, the field names no reviews; do not read it: {unread('review_id')}"
    if not row["tied"]:
        detail = f"replaced by newer records of {shown} with the same id"
        remedy = no_ids if many else ""
        kind = KINDS[fate]
        return Entry(
            "ingest",
            Outcome.REPLACED,
            kind,
            row["count"],
            file,
            detail,
            remedy,
            many,
        )

    detail = f"replaced by records of {shown} with the same id and date, " + (
        "a file that was read later" if across else "which stand later in the file"
    )
    remedy = "if the others are right, leave that file out" if across else ""
    if many:
        remedy = no_ids
    kind = KINDS_OF_TIED[fate]
    odd = across or many
    return Entry(
        "ingest",
        Outcome.REPLACED,
        kind,
        row["count"],
        file,
        detail,
        remedy,
        odd,
    )


def _same_reviews(files: Sequence[Mapping[str, Any]]) -> list[Entry]:
    """Return an entry for each file with the same reviews in another form; without ids they are not told from others."""
    first: dict[bytes, str] = {}
    entries = []
    for file in files:
        content = add_contents([part["content"] for part in file["parts"]]).tobytes()
        other = first.setdefault(content, file["name"])
        if file["rows"] and other != file["name"]:
            detail = f"holds exactly the reviews of {other}"
            remedy = "leave one of the two out"
            entries.append(
                Entry(
                    "ingest",
                    Outcome.NOTED,
                    Kind.SAME_REVIEWS,
                    file["rows"],
                    file["name"],
                    detail,
                    remedy,
                    odd=True,
                )
            )

    return entries


class _Parts:
    """A writer of the parts of a data set that also adds up their facts."""

    def __init__(
        self,
        folder: Path,
        parts: Iterator[_Part],
        quarantine: QuarantineWriter,
    ) -> None:
        self.folder = folder
        self.parts = parts
        self.quarantine = quarantine
        self.superseded = self.identical = 0
        self.described: list[dict[str, Any]] = []

    def add_source(self, reading: SourceReading) -> dict[str, Any]:
        """Add the parts of a source; return the entry of the source in the manifest."""
        first = len(self.described)
        lost = self.superseded + self.identical
        sums = reading.sums
        for part in islice(self.parts, len(reading.paths)):
            self._add(part, sums)

        mine = self.described[first:]
        aside = {}
        if SET_ASIDE in reading.facts:
            aside = {SET_ASIDE: reading.facts[SET_ASIDE]}

        numbers = range(first, first + len(mine))
        return {
            **aside,
            "records": reading.facts["records"],
            **spread(mine),
            "quarantined": reading.facts["quarantined"],
            "duplicates": self.superseded + self.identical - lost,
            "parts": [f"{part_name(number)}.parquet" for number in numbers],
        }

    def _add(self, part: _Part, sums: Mapping[Path, str]) -> None:
        """Add a part; *sums* has the SHA-256 of files with a second name."""
        if part.dropped is not None:
            self.quarantine.add(part.dropped)
            self.identical += part.identical
            self.superseded += part.dropped.height - part.identical

        if part.described is None:
            return

        new = self.folder / f"{part_name(len(self.described))}.parquet"
        if part.sha256:
            note_sha256(new, part.sha256)
        elif isinstance(part.content, Path):
            link_whole(part.content, new)
            if part.content in sums:
                note_sha256(new, sums[part.content])
        else:
            write_whole(new, part.content)

        self.described.append(part.described)


@dataclass(frozen=True)
class _Part:
    """A part without the rows that leave.

    Attributes:
        content: The bytes of its file, or a file with these bytes.
        sha256: Of the file of a part that a worker has written to its place; else "".
        described: See `reviewlm.corpus.ingestion.parts.describe`; None if no row stays.
        dropped: The rows that left, as quarantine records; None if the part stays as it was read.
        identical: Number of those that are the same as the row that stays.
    """

    content: Path | memoryview | bytes
    described: dict[str, Any] | None
    dropped: pl.DataFrame | None = None
    identical: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class _ReadPart:
    """A part as it was read, with its description and the repeated ids among its rows."""

    path: Path
    described: dict[str, Any]
    repeats: RepeatedIds


def _parts_of(
    readings: Sequence[SourceReading],
    repeats: RepeatedIds,
    folder: Path,
    engine: Dataflow | None,
) -> Iterator[_Part]:
    """Yield the parts of all readings without the rows that leave, in order.

    Args:
        folder: Where they belong; workers that see it write there.
        engine: Who reads and writes the parts with repeated ids; default: threads.
    """
    read = []
    row = 0
    for reading in readings:
        for path, part in zip(reading.paths, reading.facts["parts"], strict=True):
            start = row
            row += part["rows"]
            read.append(_ReadPart(path, part, repeats.of_rows(start, row)))

    if not engine:
        yield from map_in_order(_without_repeats, read, AT_A_TIME, ahead=0)
        return

    handed: list[list[Any]] = []
    number = 0
    for part in read:
        place = folder / f"{part_name(number)}.parquet"
        number += part.described["rows"] > len(part.repeats.losers)
        if part.repeats:
            there = place.absolute() if engine.sees(folder) else None
            content = engine.put_file(FilePiece(part.path))
            handed.append(engine.submit(partial(_without_repeats_there, part, there), content))
        else:
            handed.append([])

    for part, references in zip(read, handed, strict=True):
        if references:
            yield from engine.fetch(references)
        else:
            yield _without_repeats(part)


def _without_repeats_there(
    part: _ReadPart,
    place: Path | None,
    content: np.ndarray,
) -> list[_Part]:
    """Return a part without the rows that leave, written to its place if that is seen here; on a worker."""
    made = _without_repeats(part, io.BytesIO(content.data))
    if isinstance(made.content, Path):  # no row is left
        return [made]

    left = bytes(made.content)
    if place is None:
        return [replace(made, content=left)]
    write_whole(place, left)
    return [replace(made, content=place, sha256=hashlib.sha256(left).hexdigest())]


def _without_repeats(read: _ReadPart, file: io.BytesIO | None = None) -> _Part:
    """Rename and drop the rows of a part that repeat the id of another row; *file* has its bytes if they are here."""
    path = read.path
    part = read.described
    repeats = read.repeats
    if not repeats:
        return _Part(path, part)

    frame, content = _rename(
        pl.read_parquet(file or path), repeats, add_contents([part["content"]])
    )
    dropped = frame[repeats.losers]
    remaining = frame[np.delete(np.arange(frame.height), repeats.losers)]
    described = None
    if remaining.height:
        described = describe(remaining, content - content_of(dropped))

    gone = _as_quarantine(dropped, repeats.fate == Fate.IDENTICAL)
    return _Part(
        parquet_bytes(remaining) if remaining.height else path,
        described,
        gone,
        int((repeats.fate == Fate.IDENTICAL).sum()),
    )


def _rename(
    frame: pl.DataFrame,
    repeats: RepeatedIds,
    content: np.ndarray,
) -> tuple[pl.DataFrame, np.ndarray]:
    """Add suffixes to ids that another review has, and correct the sum of the row hashes."""
    if not repeats.renamed.size:
        return frame, content

    before = frame[repeats.renamed]
    who = before.select("user_id", "business_id", "text").iter_rows()
    endings = []
    for number, row in zip(repeats.occurrence.tolist(), who, strict=True):
        if number:
            endings.append(str(number))
        else:
            endings.append(suffix_of(*row))

    ids = before["review_id"] + "-" + pl.Series(endings)
    changed = frame.with_columns(frame["review_id"].scatter(repeats.renamed, ids))
    content = content - content_of(before) + content_of(changed[repeats.renamed])
    return changed, content


def _as_quarantine(dropped: pl.DataFrame, identical: np.ndarray) -> pl.DataFrame:
    """Return dropped rows as quarantine records; identical ones get no raw bytes, since the data set has the record."""
    raws = []
    for same, row in zip(
        identical.tolist(), dropped.select(list(COLUMNS)).iter_rows(named=True), strict=True
    ):
        raws.append(b"" if same else orjson.dumps(row))

    details = []
    for same, name in zip(identical.tolist(), dropped["review_id"], strict=True):
        details.append(
            f"the same record with the review_id {name!r} is in the data set"
            if same
            else f"another record with the review_id {name!r} is newer, or was read later"
        )

    columns = {
        "source": dropped["source"],
        "line": dropped["line"],
        "reason": [Reason.DUPLICATE_ID.value] * len(raws),
        "detail": details,
        "raw": raws,
    }
    return pl.DataFrame(columns, schema=QUARANTINE)


def _entry(
    source: Listed,
    original: Listed,
    settled: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the entry of a source in the manifest; all records of a copy are duplicates."""
    about = {
        "name": source.name,
        "bytes": source.bytes,
        "sha256": source.sha256,
    }
    if source == original:
        return {
            **about,
            **settled,
            "text_bytes": settled["bytes"],
            "bytes": source.bytes,
        }

    records = settled["records"]
    nothing = {
        "rows": 0,
        "quarantined": 0,
        "duplicates": records,
        "date_min": None,
        "date_max": None,
        "parts": [],
    }
    return {
        **about,
        "records": records,
        **nothing,
        "text_bytes": 0,
        "same_as": original.name,
    }


def _facts(
    entries: list[dict[str, Any]],
    writer: _Parts,
    used: Sequence[SourceReading],
) -> dict[str, Any]:
    """Return the facts of a data set, from the entries of its sources and its parts."""
    facts: dict[str, Any] = {}
    for name in ("records", "rows", "quarantined", "duplicates"):
        facts[name] = sum(entry[name] for entry in entries)

    parts = writer.described
    facts["superseded"] = writer.superseded
    facts["identical"] = writer.identical
    facts["copied"] = sum(entry["records"] for entry in entries if "same_as" in entry)
    facts["reasons"] = dict(sorted(_reasons(used).items()))
    facts["parts"] = len(parts)
    spread_facts = spread(parts)
    del spread_facts["rows"]
    facts |= spread_facts
    facts["input_bytes"] = sum(entry["bytes"] for entry in entries)
    content = add_contents([part["content"] for part in parts])
    facts["content_sha256"] = content.tobytes().hex()
    facts["settings"] = used[0].facts["settings"]
    facts["sources"] = entries
    return facts


def _require_rows(sources: Sequence[Listed], used: Sequence[SourceReading]) -> None:
    """Raise EmptyInput if no record is good."""
    if any(reading.facts["rows"] for reading in used):
        return
    records = sum(reading.facts["records"] for reading in used)
    if not records:
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
    known = REMEDIES.get(Reason(common), "correct the input")
    show = "`reviewlm data quarantine show` with the same --input lists all reasons"
    raise EmptyInput(
        f"None of the {records} records can be used",
        where=f"{bad['source']}, line {bad['line']}",
        value=bad["raw"][:200],
        cause=f"{count} of them: {common} ({bad['detail']})",
        remedy=f"{known}; {show}",
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
