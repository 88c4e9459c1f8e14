"""Judge a whole file by what its blocks show: the order of day and month, the fields that it lacks, odd texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from reviewlm.core.errors import Unreadable
from reviewlm.corpus.account import Entry, Outcome
from reviewlm.corpus.account_kinds import Kind
from reviewlm.corpus.reading.dates import DayMonthOrder
from reviewlm.corpus.reading.field_names import fold
from reviewlm.corpus.reading.known_names import find_known, settings_for
from reviewlm.corpus.reading.odd_texts import OddTexts
from reviewlm.corpus.schema import FIELDS, Block

LOOKED_FOR = ("stars", "date", "user_id", "business_id")
"""Fields of which a file that lacks them is told; every file needs a text, and an id can be derived."""
NO_REVIEW_FIELDS = frozenset({"useful", "funny", "cool", "votes", "type", "photos", "elite", ""})
"""Further fields of Yelp's own files, which cannot be one of ours under another name."""
MANY_LACKING = 0.01
"""Share of the records of a file from which on it is told that they lack a field that others of it have."""
FROM_ZERO = frozenset((0, 1, 2, 3, 4))
FEW_RATINGS = 20
"""Ratings of a file below which their values say nothing about the scale."""
MOST_NAMES = 12
"""Names of fields that are stored and shown for a file."""


class FileTraits:
    """Traits of one file from its blocks, by source: the file itself, or a member of an archive.

    Args:
        name: Name of the file.
        together: Its members are judged as one file: they are small files of one kind.
    """

    def __init__(self, name: str, together: bool = False) -> None:
        self.name = name
        self.together = together
        self.orders: dict[str, Counter[str]] = {}
        self.filled: Counter[str] = Counter()
        self.names: set[str] = set()
        self.records = 0
        self.good = 0
        self.odd_texts = OddTexts()
        self.ratings: Counter[float] = Counter()

    def add(self, block: Block) -> None:
        """Take what the next block shows."""
        self.records += block.records
        self.good += block.good.height
        self.odd_texts.add(block.good["text"])
        self.ratings.update(_count_ratings(block.good["stars"]))
        seen = block.traits
        if seen is None:
            return
        self.orders.setdefault(seen.source, Counter()).update(seen.orders)
        self.filled.update(seen.filled)
        self.names |= seen.names

    def _date_orders(self) -> dict[str, Counter[str]]:
        """Return the orders of the dates by what is judged as one file."""
        if not self.together:
            return self.orders
        every: Counter[str] = sum(self.orders.values(), Counter())
        return {self.name: every} if self.orders else {}

    def month_first(self, setting: str) -> frozenset[str]:
        """Return the sources of blocks whose dates show, with those judged together, that the month comes first.

        Args:
            setting: Value of `source.date_order`.

        Raises:
            Unreadable: The dates of a source are in both orders.
        """
        if setting != "auto":
            return frozenset()

        for source, orders in self._date_orders().items():
            if orders[DayMonthOrder.DAY_FIRST] and orders[DayMonthOrder.MONTH_FIRST]:
                raise Unreadable(
                    "The dates of these small files, which are judged as one file, are in two orders"
                    if self.together
                    else "The dates of the file are in two orders",
                    where=source,
                    value=f"{orders[DayMonthOrder.DAY_FIRST]:,} can only have the day first, like 31-05-2023, "
                    f"{orders[DayMonthOrder.MONTH_FIRST]:,} only the month, like 05-31-2023",
                    cause="files were put together, or a spreadsheet has exchanged day and month",
                    remedy="write dates as 2023-05-31; or say which order is right, and dates that do not fit go to "
                    "the quarantine: --set source.date_order=day (or month)",
                )

        judged = self._date_orders()
        if self.together:
            shown = any(orders[DayMonthOrder.MONTH_FIRST] for orders in judged.values())
            return frozenset(self.orders if shown else ())
        return frozenset(
            source for source, orders in judged.items() if orders[DayMonthOrder.MONTH_FIRST]
        )

    def entries(self, setting: str) -> list[Entry]:
        """Return entries about the order of day and month, names of fields that were spelt otherwise, and odd texts."""
        entries = []
        for source, orders in self._date_orders().items():
            either = orders[DayMonthOrder.EITHER]
            if setting != "auto" or not either + orders[DayMonthOrder.MONTH_FIRST]:
                continue
            if orders[DayMonthOrder.MONTH_FIRST]:
                count = either + orders[DayMonthOrder.MONTH_FIRST]
                detail = "dates are read month first, as some of them show"
                entries.append(
                    Entry(
                        "read",
                        Outcome.NOTED,
                        Kind.MONTH_FIRST,
                        count,
                        source,
                        detail,
                        odd=True,
                    )
                )
            elif not orders[DayMonthOrder.DAY_FIRST]:
                detail = "dates are read day first, but no date shows whether day or month is first"
                remedy = "if it is the month: --set source.date_order=month"
                entries.append(
                    Entry(
                        "read",
                        Outcome.NOTED,
                        Kind.DAY_OR_MONTH,
                        either,
                        source,
                        detail,
                        remedy,
                        odd=True,
                    )
                )

        entries += self._respelt()
        entries += self._from_zero()
        entries += self.odd_texts.entries(self.name, self.good)
        return entries

    def _from_zero(self) -> list[Entry]:
        """Return an entry if all ratings are those of labels that are counted from 0."""
        count = self.ratings.total()
        if count < FEW_RATINGS or not self.ratings[0] or not set(self.ratings) <= FROM_ZERO:
            return []
        values = ", ".join(f"{value:g}" for value in sorted(self.ratings))
        detail = f"the ratings are {values} and never 5, like labels that are counted from 0"
        remedy = "if 0 means one star: --set source.lowest_stars=0"
        kind = Kind.STARS_FROM_ZERO
        return [
            Entry(
                "read",
                Outcome.NOTED,
                kind,
                count,
                self.name,
                detail,
                remedy,
                odd=True,
            )
        ]

    def _respelt(self) -> list[Entry]:
        ours = {name.replace("_", ""): name for name in FIELDS}
        respelt = {}
        for name in sorted(self.names - set(FIELDS)):
            if fold(name) in ours and ours[fold(name)] not in self.names:
                respelt[name] = ours[fold(name)]

        if not respelt:
            return []

        detail = ", ".join(f"{their!r} is read as {our}" for their, our in respelt.items())
        return [
            Entry(
                "read",
                Outcome.NOTED,
                Kind.OTHER_SPELLING,
                self.records,
                self.name,
                detail,
            )
        ]

    def fields(self) -> dict[str, Any]:
        """Return number of records with a value by field, our fields in it, and the first names of other fields."""
        ours = {name.replace("_", "") for name in FIELDS}
        others = sorted(name for name in self.names if fold(name) not in ours)
        folded = {fold(name) for name in self.names}
        filled = {name: self.filled[name] for name in FIELDS}
        present = [name for name in FIELDS if name.replace("_", "") in folded]
        known = find_known(self.names)
        return {
            "filled": filled,
            "present": present,
            "others": others[:MOST_NAMES],
            "known": known,
        }


def _count_ratings(stars: pl.Series) -> dict[float, int]:
    known = stars.drop_nulls()
    return dict(known.value_counts().iter_rows())


def lacking_fields(files: Sequence[Mapping[str, Any]]) -> list[Entry]:
    """Return an entry for each file that lacks fields, with the fields that it has instead.

    It is odd if another file has the field, or if the file has fields that may be it under another name. A file that has
    a field, but says in every record that its value is unknown, is told so.

    Args:
        files: Facts of the readings (`parts.SourceReading.facts`).
    """
    known = [file for file in files if file.get("fields") and file["rows"]]
    everywhere: set[str] = set()
    for file in known:
        filled = file["fields"]["filled"]
        everywhere.update(name for name in LOOKED_FOR if filled[name])

    entries = _partly_lacking(known)
    for file in known:
        named = file["settings"].get("fields", {})
        unread = [ours for ours, their in named.items() if not their]
        filled = file["fields"]["filled"]
        others = file["fields"]["others"]
        lacks = [name for name in LOOKED_FOR if not filled[name] and name not in unread]
        strange = []
        for name in others:
            if fold(name) not in NO_REVIEW_FIELDS and name not in named.values():
                strange.append(name)

        if not lacks:
            continue
        elsewhere = [name for name in lacks if name in everywhere]
        present = set(file["fields"]["present"])
        present.update(ours for ours, their in named.items() if their in others)
        unknown = [name for name in lacks if name in present]
        absent = [name for name in lacks if name not in present]
        details = [f"no record has {' or '.join(absent)}"] if absent else []
        if unknown:
            details.append(
                f"every record says that its {' and '.join(unknown)} is unknown, or leaves it empty"
            )
        detail = "; ".join(details)
        if elsewhere:
            detail += f" (other files have {', '.join(elsewhere)})"
        remedy = ""
        if strange:
            detail += f"; its other fields are {', '.join(strange)}"
            remedy = f"if one of them is it: --set source.fields.{(absent or lacks)[0]}=NAME"
        if settings := settings_for(file["fields"]["known"].values(), lacks):
            remedy = f"if these are its names: {settings}"
        elif elsewhere and not strange:
            remedy = _remedy_without_names(elsewhere, unknown)
        entry = Entry(
            "read",
            Outcome.NOTED,
            Kind.FIELDS_MISSING,
            file["rows"],
            file["name"],
            detail,
            remedy,
            odd=bool(elsewhere or strange),
            about=", ".join(lacks),
        )
        entries.append(entry)

    return entries


def _remedy_without_names(elsewhere: Sequence[str], unknown: Sequence[str]) -> str:
    """Return the remedy for a file that lacks fields of other files, and has none that could be them.

    Args:
        elsewhere: The fields that it lacks and others have.
        unknown: Those fields that it has, but without a known value.
    """
    if any(name not in unknown for name in elsewhere):
        return "if it holds no reviews, move it away; otherwise they are used without it"
    known = " and ".join(elsewhere)
    return f"its reviews are used without it; to have it, write the true {known} into the file"


def _partly_lacking(files: Sequence[Mapping[str, Any]]) -> list[Entry]:
    """Return entries about fields that some records of a file lack, where the file has a known other name of them.

    So looks a file whose writer has renamed a field on the way.
    """
    entries = []
    for file in files:
        of_file = file["fields"]
        for name in ("text", *LOOKED_FOR):
            other = of_file["known"].get(name, name)
            count = file["records"] - of_file["filled"][name]
            if other == name or not of_file["filled"][name]:
                continue
            if count > MANY_LACKING * file["records"]:
                detail = f"records have no {name}, and the file has a field {other!r}"
                remedy = f"if it is the {name}: {settings_for([other], [name])}"
                entries.append(
                    Entry(
                        "read",
                        Outcome.NOTED,
                        Kind.FIELD_PARTLY_MISSING,
                        count,
                        file["name"],
                        detail,
                        remedy,
                        odd=True,
                        about=name,
                    )
                )

    return entries
