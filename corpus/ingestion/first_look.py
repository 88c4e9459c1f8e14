"""Look at the beginning of each input file: records, fields, ratings, dates, languages, and what cannot be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import polars as pl

from reviewlm.corpus.account import Account, Entry, Outcome, merge_entries
from reviewlm.corpus.account_kinds import Kind
from reviewlm.corpus.cleaning.normalise import detect
from reviewlm.corpus.ingestion.file_traits import FileTraits
from reviewlm.corpus.ingestion.ingest import entry_of_file
from reviewlm.corpus.reading.convert import CERTAIN_ID, DERIVED_ID
from reviewlm.corpus.reading.readers import Progress, read
from reviewlm.corpus.reading.sources import find_files
from reviewlm.corpus.schema import COLUMNS, FIELDS, Block, ReadingOptions, byte_count, whole_stars

MOST_RECORDS = 20_000
"""Records of all files together that are looked at; a block more of each file may be read."""
MOST_FILES = 20
"""Files that are opened; more would only cost time."""
LANGUAGE_TEXTS = 200
"""Texts whose language is detected, about 2,400 a second."""


@dataclass(frozen=True)
class FirstLook:
    """Facts about the files from their beginnings.

    Attributes:
        files: Number of input files.
        whole: All records of all files were looked at.
        records: Records in all files: counted if *whole*, else estimated by the sizes of the files.
        account: What became of the records that were looked at.
        fields: Share of the usable records that have a value, by our name of the field.
        stars: Number of usable records by rating: "1" to "5", "none", and "other" for numbers on another scale.
        months: First and last month of the dates, as "2019-05"; empty without dates.
        languages: Number of texts by language (ISO 639-1; "": not certain) among the first; None if the library that
            detects them is not installed.
        bytes_of_review: Mean UTF-8 bytes of a usable text, with one for its end.
        by_file: Counts of each file that was opened, as `reviewlm.corpus.ingestion.ingest.count_by_file` returns them.
    """

    files: int
    whole: bool
    records: int
    account: Account
    fields: Mapping[str, float]
    stars: Mapping[str, int]
    months: tuple[str, ...]
    languages: Mapping[str, int] | None
    bytes_of_review: float
    by_file: pl.DataFrame

    def to_dict(self) -> dict[str, Any]:
        """Return all but the counts of files, which the account has, as JSON values."""
        facts = {**asdict(self), "account": self.account.to_dict()}
        del facts["by_file"]
        return facts


@dataclass(frozen=True)
class _FileBeginning:
    """The beginning of one file: its usable records, all records, what became of them, the share of its bytes read."""

    good: pl.DataFrame
    records: int
    entries: tuple[Entry, ...]
    share: float


def look_at(
    input: Sequence[str],
    options: ReadingOptions,
    most: int = MOST_RECORDS,
    skip_missing: bool = False,
) -> FirstLook:
    """Read at most about *most* records of the input, the same number of each file, and describe them.

    Args:
        skip_missing: See `reviewlm.corpus.reading.sources.find_files`.

    Raises:
        Unreadable, MissingColumn: A file cannot be read, or its dates are in two orders.
    """
    found_files = find_files(input, skip_missing)
    sources = found_files.names
    opened = list(sources.items())[:MOST_FILES]
    each = max(1, most // max(len(opened), 1))
    found = {name: _beginning(path, name, options, each) for path, name in opened}
    good = pl.concat([one.good for one in found.values()] or [pl.DataFrame(schema=COLUMNS)])
    whole = len(opened) == len(sources) and all(one.share == 1 for one in found.values())
    of_each = [one.records / one.share for one in found.values()]
    per_byte = sum(of_each) / max(sum(path.stat().st_size for path, _ in opened), 1)
    entries = list(found_files.entries)
    for beginning in found.values():
        entries += beginning.entries

    account = Account(
        {name: one.records for name, one in found.items()},
        tuple(merge_entries(entries)),
    )
    records = account.read
    if not whole:
        all_bytes = sum(path.stat().st_size for path in sources)
        records = round(per_byte * all_bytes)

    text_bytes = int(good.select(byte_count()).to_series().sum())
    counts = [_count(name, beginning) for name, beginning in found.items()]
    return FirstLook(
        len(sources),
        whole,
        records,
        account,
        _fill_shares(good),
        _ratings(good),
        _months(good),
        _languages(good),
        text_bytes / max(good.height, 1),
        pl.DataFrame(counts),
    )


def _count(source: str, beginning: _FileBeginning) -> dict[str, Any]:
    """Return the records of a file, and those that are quarantined, rated, and rated off the scale."""
    aside = (entry for entry in beginning.entries if entry.outcome is Outcome.SET_ASIDE)
    quarantined = sum(entry.count for entry in aside)
    ratings = _ratings(beginning.good)
    return {
        "source": source,
        "records": beginning.records,
        "quarantined": quarantined,
        "rated": beginning.good.height - ratings.get("none", 0),
        "off_scale": ratings.get("other", 0),
    }


def _beginning(
    path: Path,
    name: str,
    options: ReadingOptions,
    most: int,
) -> _FileBeginning:
    """Read a file up to the block that holds its record number *most*; again if its dates are month first."""
    traits = FileTraits(name)
    beginning = _read_beginning(
        path,
        name,
        options,
        most,
        traits,
    )
    if month_first := traits.month_first(options.date_order):
        traits = FileTraits(name)
        options = replace(options, month_first=month_first)
        beginning = _read_beginning(
            path,
            name,
            options,
            most,
            traits,
        )

    entries = [entry_of_file(entry, name) for entry in traits.entries(options.date_order)]
    return replace(beginning, entries=(*beginning.entries, *entries))


def _read_beginning(
    path: Path,
    name: str,
    options: ReadingOptions,
    most: int,
    traits: FileTraits,
) -> _FileBeginning:
    progress = Progress()
    parts = [pl.DataFrame(schema=COLUMNS)]
    entries: list[Entry] = []
    records = 0
    size = max(path.stat().st_size, 1)
    share = 1.0
    with closing(cast(Generator[Block], read(path, name, options, progress))) as blocks:
        for block in blocks:
            parts.append(block.good.select(*COLUMNS))
            records += block.records
            traits.add(block)
            entries += block.entries
            entries += _set_aside(block.bad, name)
            if records >= most and progress.bytes_done < size:
                share = max(progress.bytes_done, 1) / size
                break

    return _FileBeginning(pl.concat(parts), records, tuple(entries), share)


def _set_aside(bad: pl.DataFrame, name: str) -> list[Entry]:
    """Return an entry for each reason; its detail has the line and the fault of the first record."""
    entries = []
    for (reason,), rows in bad.group_by("reason", maintain_order=True):
        first = rows.row(0, named=True)
        detail = f"line {first['line']}: {first['detail']}"
        entries.append(
            Entry(
                "read",
                Outcome.SET_ASIDE,
                Kind(str(reason)),
                rows.height,
                name,
                detail,
            )
        )

    return entries


def _fill_shares(good: pl.DataFrame) -> dict[str, float]:
    """Return the share of records with a value by field; an id that was made from the content counts as none."""
    derived = pl.col("review_id").str.contains(f"^({DERIVED_ID}|{CERTAIN_ID})")
    given = good.with_columns(pl.when(~derived).then("review_id").alias("review_id"))
    return {name: given[name].count() / max(good.height, 1) for name in FIELDS}


def _ratings(good: pl.DataFrame) -> dict[str, int]:
    """Return the number of records by rating: 1 to 5, "other" and "none"."""
    stars = whole_stars()
    is_missing = pl.col("stars").is_null()
    of_missing = pl.when(is_missing).then(pl.lit("none"))
    of_others = of_missing.when(stars == 0).then(pl.lit("other"))
    named = of_others.otherwise(stars.cast(pl.String))
    counts = Counter(good.select(named.alias("rating")).to_series().to_list())
    return dict(sorted(counts.items()))


def _months(good: pl.DataFrame) -> tuple[str, ...]:
    """Return the first and the last month of the records; empty if none has a date."""
    dates = good["date"].drop_nulls()
    if dates.is_empty():
        return ()
    months = dates.dt.strftime("%Y-%m")
    return (str(months.min()), str(months.max()))


def _languages(good: pl.DataFrame) -> dict[str, int] | None:
    """Return the number of texts by language, the most frequent first; None if nothing can tell them apart."""
    if find_spec("py3langid") is None:
        return None
    found = Counter(detect(good["text"].head(LANGUAGE_TEXTS)).to_list())
    return dict(found.most_common())
