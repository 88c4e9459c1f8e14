"""Leave out the records of persons who asked for it, by a list in the home folder that holds only hashes of their ids.

`reviewlm home forget` writes the list (`tasks/upkeep/forget.py`); the reading of every file asks it. Hashes are salted: who has
the list, but not an id, cannot find out whose ids are in it by hashing all ids of a public data set once.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from reviewlm.core.errors import Unreadable
from reviewlm.core.output import write_output
from reviewlm.corpus.account import Entry, Outcome, merge_entries
from reviewlm.corpus.account_kinds import Kind
from reviewlm.corpus.schema import Block

FILE = "forgotten.json"
"""Name of the list in a home folder."""
FORMAT = 1
SETS = ("reviews", "users", "prepared", "learnt")
DETAIL = "records of persons whom `reviewlm home forget` has removed are left out"
REMEDY = "the file still holds them: remove them from it"
LONG_ID = 8
"""Characters of an id that is looked for within bytes; a shorter one would be found by chance."""
WORD = re.compile(r"[\w.@+-]+")
"""What an id consists of, as far as it is looked for in the bytes of a record that could not be read."""


@dataclass(frozen=True)
class Forgotten:
    """The ids of reviews and of users whose records are left out.

    Attributes:
        salt: Bytes in hexadecimal that every hash begins with.
        reviews, users: Hashes of their ids.
        files: For each file that held such records, by the SHA-256 of its bytes, the SHA-256 of their hashes. It is an
            option of the stage "read", so that a file is read again when more of its records are to be left out.
        prepared: Digests of prepared data that held such records, and were removed.
        learnt: Those of them that held such records in their training or validation split.
    """

    salt: str = field(default_factory=lambda: secrets.token_hex(16))
    reviews: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    files: Mapping[str, str] = field(default_factory=dict)
    prepared: frozenset[str] = frozenset()
    learnt: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.reviews or self.users)

    @classmethod
    def of(cls, home: Path) -> Forgotten:
        """Return the list of a home folder; an empty one if it has none.

        Raises:
            Unreadable: The file is damaged. Nothing may be read then, because forgotten records would come back.
        """
        file = home / FILE
        try:
            given = json.loads(file.read_text(encoding="utf-8"))
            if given["format"] != FORMAT:
                raise ValueError(f"its format is {given['format']}, not {FORMAT}")
            sets = {name: frozenset(given[name]) for name in SETS}
            return cls(str(given["salt"]), files=dict(given["files"]), **sets)
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Unreadable(
                "The list of forgotten reviews cannot be read",
                where=file,
                cause=str(error),
                remedy="restore it from a backup: without it, the reviews would be read again",
            ) from error

    def save(self, home: Path) -> None:
        """Write the list into a home folder."""
        content: dict[str, Any] = {
            "format": FORMAT,
            "salt": self.salt,
            "files": dict(self.files),
        }
        content |= {name: sorted(getattr(self, name)) for name in SETS}
        write_output(home / FILE, json.dumps(content, indent=1) + "\n")

    def hash_of(self, identity: str) -> str:
        """Return the hash of an id."""
        return hashlib.sha256(f"{self.salt} {identity}".encode()).hexdigest()

    def plus(self, reviews: Iterable[str], users: Iterable[str]) -> Forgotten:
        """Return the list with further ids."""
        more_reviews = set(map(self.hash_of, reviews))
        more_users = set(map(self.hash_of, users))
        return replace(self, reviews=self.reviews | more_reviews, users=self.users | more_users)

    def with_files(self, files: Iterable[str], reviews: Iterable[str]) -> Forgotten:
        """Return the list after these *reviews* were found in files, given by their SHA-256."""
        found = " ".join(sorted(map(self.hash_of, reviews)))
        digests = {
            file: hashlib.sha256(f"{self.files.get(file, '')} {found}".encode()).hexdigest()
            for file in files
        }
        return replace(self, files={**self.files, **digests})

    def options(self, file: str) -> dict[str, str]:
        """Return the option of the stage "read" for a file, given by its SHA-256."""
        if file in self.files:
            return {"forgotten": self.files[file]}
        return {}

    def without(self, block: Block) -> Block:
        """Return a block without the records of the list, and with an entry that counts them."""
        if not self:
            return block

        good = block.good.filter(~self.chosen(block.good))
        bad = block.bad.filter(~self.find_mentions(block.bad))
        count = block.good.height + block.bad.height - good.height - bad.height
        entry = Entry(
            "read",
            Outcome.LEFT_OUT,
            Kind.FORGOTTEN,
            count,
            detail=DETAIL,
            remedy=REMEDY,
            odd=True,
        )
        return replace(
            block,
            good=good,
            bad=bad,
            entries=tuple(merge_entries([*block.entries, entry])),
        )

    def chosen(self, rows: pl.DataFrame) -> pl.Series:
        """Return for each review whether it is in the list."""
        mine = pl.Series([False]).new_from_index(0, rows.height)
        for name, hashes in (("review_id", self.reviews), ("user_id", self.users)):
            if hashes:
                ids = rows[name].unique().drop_nulls().to_list()
                listed = [one for one in ids if self.hash_of(one) in hashes]
                mine = mine | rows[name].is_in(listed).fill_null(False)
        return mine

    def find_mentions(self, bad: pl.DataFrame) -> pl.Series:
        """Return for each record in quarantine whether its bytes hold an id of the list."""
        hashes = self.reviews | self.users
        found = []
        for raw in bad["raw"].to_list():
            found.append(any(self.hash_of(word) in hashes for word in words_of(raw)))

        return pl.Series(found, dtype=pl.Boolean)


def hand_list_on(home: Path, other: Path) -> None:
    """Copy the list of a home into another one, in which the same files will be read."""
    if forgotten := Forgotten.of(home):
        other.mkdir(parents=True, exist_ok=True)
        forgotten.save(other)


def words_of(raw: bytes) -> set[str]:
    """Return the words in the bytes of a record that could be ids: long words, and of an object any value of an id."""
    words = {word for word in WORD.findall(raw.decode("utf-8", "replace")) if len(word) >= LONG_ID}
    try:
        record = json.loads(raw)
    except (ValueError, RecursionError):
        return words
    if not isinstance(record, dict):
        return words

    fields = record.items()
    return words | {str(value) for name, value in fields if "id" in name.lower()}
