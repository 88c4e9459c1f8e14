"""The account of the data: what became of every record that was read, and what looks odd about it.

Each step that leaves out, replaces or repairs records returns an `Entry` for it; nothing else may drop a row. The sum of
the entries is the `Account`:

    records = used + set aside + replaced + copies + left out

in all, and for each file as far as the entries name files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from reviewlm.corpus.account_kinds import Kind

ACCOUNT = "account"
"""Fact of the results that have entries: of `ingest` a whole account, of the later stages their entries."""


MOST_FILES = 3
"""Files of which a table says the same one by one."""


class Outcome(StrEnum):
    """Outcome of the records of an entry."""

    SET_ASIDE = "set_aside"
    """They are in the quarantine, because they cannot be used as they are."""
    REPLACED = "replaced"
    """Another record with the same id took their place."""
    COPY = "copies"
    """The same record, or a file with the same bytes, is used once."""
    LEFT_OUT = "left_out"
    """A rule or a setting leaves them out: an empty text, a language, a text that is in another split."""
    REPAIRED = "repaired"
    """They are used; a value was corrected, or taken as unknown."""
    NOTED = "noted"
    """They are used as they are; somebody should look at them."""
    NOT_READ = "not_read"
    """Files (not records) that were not read, or not to their end."""


TAKEN = (Outcome.SET_ASIDE, Outcome.REPLACED, Outcome.COPY, Outcome.LEFT_OUT)
"""Outcomes of records that are not used."""
WORDS = {outcome: outcome.value.replace("_", " ") for outcome in Outcome}
"""The outcomes as people read them."""


@dataclass(frozen=True)
class Entry:
    """Outcome of some records of one file in one step, for one reason.

    Attributes:
        step: The stage: "find" (files), "read", "ingest", "prepare" …
        outcome: What became of the records.
        kind: The reason.
        count: Number of records; of `Outcome.NOT_READ`, of files.
        file: Name of the file; empty if the step does not know it, or it concerns all.
        about: What the kind is about, if that differs within a file: a field, a split, a language.
        detail: What a person should know, as the beginning of a sentence, with an example but without the count.
        remedy: What to do about it, if anything.
        odd: It is shown as a warning.
    """

    step: str
    outcome: Outcome
    kind: Kind
    count: int
    file: str = ""
    detail: str = ""
    remedy: str = ""
    odd: bool = False
    about: str = ""

    @property
    def title(self) -> str:
        """The kind in words, with what it is about."""
        return f"{self.kind} ({self.about})" if self.about else str(self.kind)

    @property
    def sentence(self) -> str:
        """The entry in words, with its file and remedy."""
        unit = "file" if self.outcome is Outcome.NOT_READ else "record"
        where = f"{self.file}: " if self.file else ""
        what = f"{self.detail or self.title} ({self.count:,} {unit}{'s' * (self.count != 1)})"
        return f"{where}{what}{f'; {self.remedy}' if self.remedy else ''}"

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as JSON values; empty ones are left out."""
        values = {
            "step": self.step,
            "outcome": self.outcome.value,
            "kind": self.kind.value,
            "count": self.count,
        }
        texts = {
            "file": self.file,
            "about": self.about,
            "detail": self.detail,
            "remedy": self.remedy,
        }
        given = {name: text for name, text in texts.items() if text}
        return {
            **values,
            **given,
            **({"odd": True} if self.odd else {}),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Entry:
        """Return the entry that `to_dict` wrote; a kind that is not known becomes what `Kind.UNNAMED` is about."""
        known = {**values, "outcome": Outcome(values["outcome"])}
        try:
            known["kind"] = Kind(values["kind"])
        except ValueError:
            known |= {"kind": Kind.UNNAMED, "about": values["kind"]}

        return cls(**known)


def merge_entries(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries with the counts of equal ones added up; the first of them gives the detail.

    Entries are equal if step, outcome, kind, what it is about and file are. Those without records are left out.
    """
    merged: dict[tuple[str, ...], Entry] = {}
    for entry in entries:
        key = (entry.step, entry.outcome, entry.kind, entry.about, entry.file)
        before = merged.get(key)
        if before is None:
            merged[key] = entry
        else:
            merged[key] = _sum_of(before, entry)
    return [entry for entry in merged.values() if entry.count]


def join_files(entries: Iterable[Entry], most: int = MOST_FILES) -> list[Entry]:
    """Return the entries for a table: those that say the same of more than *most* files are one.

    How many records each file has lost is in `Account.files`. Odd entries stay, because they are looked at.
    """
    groups: dict[tuple[Any, ...], list[Entry]] = {}
    for entry in entries:
        same: tuple[object, ...] = (
            entry.step,
            entry.outcome,
            entry.kind,
            entry.about,
            entry.detail,
            entry.remedy,
        )
        if entry.odd or not entry.file:
            same = (*same, entry.file)

        groups.setdefault(same, []).append(entry)

    joined: list[Entry] = []
    for group in groups.values():
        if len(group) <= most:
            joined += group
        else:
            count = sum(entry.count for entry in group)
            joined.append(replace(group[0], file=f"{len(group):,} files", count=count))

    return joined


def _sum_of(first: Entry, other: Entry) -> Entry:
    shown = first if first.count else other
    return replace(shown, count=first.count + other.count, odd=first.odd or other.odd)


@dataclass(frozen=True)
class Account:
    """The sum of the entries of all steps so far.

    Attributes:
        records: Number of records read, by file.
        entries: What became of those that are not used, and what was repaired or looks odd.
    """

    records: Mapping[str, int]
    entries: tuple[Entry, ...] = ()

    @property
    def read(self) -> int:
        """Number of records read."""
        return sum(self.records.values())

    @property
    def used(self) -> int:
        """Number of records that are used: all but those that entries take away."""
        return self.read - sum(entry.count for entry in self.entries if entry.outcome in TAKEN)

    @property
    def odd(self) -> list[Entry]:
        """The entries that are shown as warnings."""
        return [entry for entry in self.entries if entry.odd]

    def count(self, outcome: Outcome) -> int:
        """Return the number of records (or files) with an outcome."""
        return sum(entry.count for entry in self.entries if entry.outcome is outcome)

    def kinds(self, outcome: Outcome) -> dict[str, int]:
        """Return the number of records with an outcome by reason, the most common first."""
        kinds: dict[str, int] = {}
        for entry in self.entries:
            if entry.outcome is outcome:
                kinds[entry.title] = kinds.get(entry.title, 0) + entry.count
        return dict(sorted(kinds.items(), key=lambda item: (-item[1], item[0])))

    def plus(self, entries: Iterable[Entry]) -> Account:
        """Return the account with the entries of a further step."""
        return Account(self.records, tuple(merge_entries([*self.entries, *entries])))

    def files(self) -> list[dict[str, Any]]:
        """Return a row per file: file, records, used, and its records by outcome.

        Records that a step took without naming their file count as used here, and in no row of an outcome.
        """
        rows = []
        for file, records in self.records.items():
            own = Account(
                {file: records}, tuple(entry for entry in self.entries if entry.file == file)
            )
            counts = {outcome.value: own.count(outcome) for outcome in TAKEN}
            rows.append(
                {
                    "file": file,
                    "records": records,
                    "used": own.used,
                    **counts,
                }
            )

        return rows

    @property
    def equation(self) -> str:
        """The sum in words: "1,000 records read = 990 used + 8 set aside + …"."""
        parts = [f"{self.used:,} used"]
        parts += [f"{self.count(outcome):,} {WORDS[outcome]}" for outcome in TAKEN]
        return f"{self.read:,} records read = {' + '.join(parts)}"

    def rows(self) -> list[dict[str, Any]]:
        """Return the account as a table of equal columns: files, their sum, then each entry with its reason."""
        table = [
            {
                "file": row["file"],
                "step": "",
                "what": "records read",
                "number": row["records"],
            }
            for row in self.files()
        ]
        table.append(
            {
                "file": "all files",
                "step": "",
                "what": "records read",
                "number": self.read,
            }
        )
        for entry in join_files(self.entries):
            what = f"{WORDS[entry.outcome]}: {entry.detail or entry.title}"
            what += f"; {entry.remedy}" if entry.remedy else ""
            table.append(
                {
                    "file": entry.file or "all files",
                    "step": entry.step,
                    "what": what,
                    "number": entry.count,
                }
            )

        table.append(
            {
                "file": "all files",
                "step": "",
                "what": "records used",
                "number": self.used,
            }
        )
        return table

    def require_sum(self, used: int) -> None:
        """Check that the account adds up to the number of records that a step has written.

        Raises:
            RuntimeError: A record was lost or counted twice, which is an error of this program.
        """
        wrong = [row["file"] for row in self.files() if row["used"] < 0]
        if self.used != used or wrong:
            raise RuntimeError(
                f"the account of the data does not add up: {used} records are used, not {self.used}"
                f"{f', and {wrong[0]} has lost more than it had' if wrong else ''}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the account as JSON values: its sums, a row for each file, and the entries."""
        counts = {outcome.value: self.count(outcome) for outcome in Outcome}
        entries = [entry.to_dict() for entry in self.entries]
        return {
            "records": self.read,
            "used": self.used,
            **counts,
            "files": self.files(),
            "entries": entries,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Account:
        """Return the account that `to_dict` wrote."""
        records = {row["file"]: row["records"] for row in values["files"]}
        return cls(records, entries_of(values["entries"]))


def entries_of(values: Sequence[Mapping[str, Any]]) -> tuple[Entry, ...]:
    """Return the entries that were written by `Entry.to_dict`."""
    return tuple(Entry.from_dict(value) for value in values)
