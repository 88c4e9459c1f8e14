"""Look for the traces of some reviews in any file: their ids, and passages of their texts.

Parquet and SQLite are read as tables, every other file as bytes. So no list of places has to be kept up to date: what
holds a review is found wherever a stage has put it. Not found are reviews as numbers: token ids, counts, weights.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from reviewlm.corpus.ingestion.forgotten import LONG_ID, words_of

PASSAGE = re.compile(r"[A-Za-z0-9 ,.]+")
"""Characters that are written alike in text, JSON, HTML and Markdown."""
PASSAGE_LENGTH = 24
"""Minimum number of characters of a passage."""
MOST_PASSAGES = 100
"""Maximum number of passages of one text."""
IDS = ("review_id", "user_id")
"""Columns in which an id of any length is looked for."""
WITHOUT_TEXTS = frozenset(
    {".npy", ".npz", ".bin", ".safetensors", ".png", ".lock", ".pid", ".nbi", ".nbc"}
)
"""Suffixes of files without texts."""
ID_CHARACTER = r"[\w@+-]"
"""Characters of ids: with one beside it, a needle is only a part of another id."""
SQLITE = b"SQLite format 3\0"
CHUNK = 16 << 20
REMOVED = "[removed by `reviewlm home forget`]"
"""What stands in a database or a log in the place of a value that held a review."""


def passages_of(text: str) -> list[str]:
    """Return passages of a text, some words each, by which also a part of it can be found in files of any format."""
    passages = []
    for run in PASSAGE.findall(text):
        passage = ""
        for word in run.split():
            passage = f"{passage} {word}".lstrip()
            if len(passage) >= PASSAGE_LENGTH:
                passages.append(passage)
                passage = ""
    return passages[:MOST_PASSAGES]


@dataclass(frozen=True)
class Traces:
    """Ids and passages by which some reviews can be found.

    Attributes:
        ids: Their ids and those of their authors.
        passages: Parts of their texts which are in no other review.
    """

    ids: frozenset[str]
    passages: tuple[str, ...] = ()

    @cached_property
    def needles(self) -> list[str]:
        """Byte strings to look for within files."""
        long_ids = [name for name in sorted(self.ids) if len(name) >= LONG_ID]
        return [*long_ids, *self.passages]

    @cached_property
    def _as_latin_1(self) -> list[str]:
        """The needles in UTF-8, each byte as a character."""
        return [needle.encode().decode("latin-1") for needle in self.needles]

    def in_file(self, file: Path) -> bool:
        """Return whether a file holds one of the reviews. A file that is gone holds none."""
        if file.suffix in WITHOUT_TEXTS or file.name.endswith(("-wal", "-shm")):
            return False

        try:
            if is_database(file):
                return next(self.cells(file), None) is not None
            with file.open("rb") as stream:
                is_parquet = stream.read(4) == b"PAR1"
            if is_parquet:
                return self._in_parquet(file)
            return self._in_bytes(file)
        except FileNotFoundError:
            return False
        except (pl.exceptions.PolarsError, sqlite3.DatabaseError):  # a damaged table
            return self._in_bytes(file)

    def _in_parquet(self, file: Path) -> bool:
        """Return whether a Parquet file holds an id in a column of ids, or a needle in another column."""
        types = dict(pl.read_parquet_schema(file))
        needles = self.needles
        rows = pl.scan_parquet(file)
        columns = [name for name in IDS if types.get(name) == pl.String()]
        ids = sorted(self.ids)
        found = [pl.col(name).is_in(ids).any() for name in columns]
        if found and any(rows.select(found).collect(engine="streaming").row(0)):
            return True

        for number, (name, dtype) in enumerate(types.items()):
            column = rows.select(value=pl.nth(number))
            if dtype == pl.Binary():
                if self._in_raw_records(column.drop_nulls().collect().to_series().to_list()):
                    return True
            elif dtype == pl.String() and name not in IDS and needles:
                held = column.filter(pl.col("value").str.contains_any(needles))
                texts = held.collect(engine="streaming").to_series().to_list()
                if any(map(self._in_unicode, texts)):
                    return True

        return False

    def _in_raw_records(self, raws: Sequence[bytes]) -> bool:
        if any(not self.ids.isdisjoint(words_of(raw)) for raw in raws):
            return True
        texts = pl.Series([raw.decode("latin-1") for raw in raws], dtype=pl.String)
        held = texts.filter(texts.str.contains_any(self._as_latin_1))
        return any(map(self.in_text, held.to_list()))

    def in_raw(self, raw: bytes | None) -> bool:
        """Return whether the bytes of a record hold an id, of any length, or a passage."""
        if not raw:
            return False
        return not self.ids.isdisjoint(words_of(raw)) or self.in_text(raw.decode("latin-1"))

    def in_text(self, text: str) -> bool:
        """Return whether a text, or bytes as Latin-1, holds a needle."""
        needles = self._as_latin_1
        if not needles or not pl.Series([text]).str.contains_any(needles).item():
            return False
        found = pl.Series([text]).str.extract_many(needles).explode().unique().to_list()
        for needle in found:
            whole_id = rf"(?<!{ID_CHARACTER}){re.escape(needle)}(?!{ID_CHARACTER})"
            if needle in self.passages or re.search(whole_id, text):
                return True

        return False

    def _in_bytes(self, file: Path) -> bool:
        overlap = max((len(needle.encode()) for needle in self.needles), default=1)
        before = b""
        with file.open("rb") as stream:
            while piece := stream.read(CHUNK):
                piece = before + piece
                if self.in_text(piece.decode("latin-1")):
                    return True
                before = piece[-overlap:]
        return False

    def cells(self, database: Path) -> Iterator[tuple[str, str, int, str]]:
        """Yield table, column, row number and value of each text in a SQLite database that holds a needle."""
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as base:
            base.text_factory = lambda raw: raw.decode("utf-8", "replace")
            tables = "SELECT name FROM sqlite_master WHERE type = 'table'"
            for (table,) in base.execute(tables).fetchall():
                yield from self._cells_of(base, table)

    def _cells_of(
        self, base: sqlite3.Connection, table: str
    ) -> Iterator[tuple[str, str, int, str]]:
        try:
            rows = base.execute(f"SELECT rowid, * FROM {_quote(table)}")
        except sqlite3.OperationalError:  # a table without row numbers: only SQLite's own have none
            return

        names = [column[0] for column in rows.description][1:]
        while some := rows.fetchmany(1_000):
            texts = []
            for number, *values in some:
                for name, value in zip(names, values, strict=True):
                    if isinstance(value, str):
                        texts.append((number, name, value))

            held = pl.Series([value for _, _, value in texts], dtype=pl.String)
            for place in held.str.contains_any(self.needles).arg_true().to_list():
                number, name, value = texts[place]
                if self._in_unicode(value):
                    yield table, name, number, value

    def redact(self, database: Path) -> int:
        """Replace the texts of a database that hold a needle, and overwrite what stood there; return their number."""
        found = list(self.cells(database))
        if not found:
            return 0

        with closing(sqlite3.connect(database, timeout=60)) as base:
            base.execute("PRAGMA secure_delete = ON")
            with base:
                for table, name, number, value in found:
                    change = f"UPDATE {_quote(table)} SET {_quote(name)} = ? WHERE rowid = ?"
                    base.execute(change, (self.without_needles(value), number))
            base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            base.execute("VACUUM")  # pages that were freed earlier hold what stood in them
            base.execute("PRAGMA wal_checkpoint(TRUNCATE)")

        return len(found)

    def without_needles(self, text: str) -> str:
        """Return a text without what holds a needle: of JSON the strings, of anything else all lines."""
        try:
            return json.dumps(self._without(json.loads(text)))
        except ValueError:
            lines = text.split("\n")
            return "\n".join(REMOVED if self._in_unicode(line) else line for line in lines)

    def _without(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._without(one) for name, one in value.items()}
        if isinstance(value, list):
            return [self._without(one) for one in value]
        if isinstance(value, str) and self._in_unicode(value):
            return REMOVED
        return value

    def _in_unicode(self, text: str) -> bool:
        """Return whether a text, as polars and SQLite decode it, holds a needle."""
        return self.in_text(text.encode("utf-8", "surrogatepass").decode("latin-1"))


def is_database(file: Path) -> bool:
    """Return whether a file is a database of SQLite."""
    with file.open("rb") as stream:
        return stream.read(len(SQLITE)) == SQLITE


def without_common(passages: Sequence[str], others: Iterable[pl.Series]) -> tuple[str, ...]:
    """Return the passages that stand in none of the other texts."""
    left = dict.fromkeys(passages)
    for texts in others:
        if not left:
            break
        common = texts.drop_nulls().str.extract_many(list(left), overlapping=True).explode()
        for passage in common.drop_nulls().unique().to_list():
            left.pop(passage, None)
    return tuple(left)


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
