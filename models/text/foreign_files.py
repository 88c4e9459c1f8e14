"""Recognise files that are certainly no text by their first bytes, and say what each is and how it becomes readable."""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST_BEGIN = 64
"""First bytes of a file that are enough to recognise it."""
_UNPACK = "unpack it"
_TO_CSV = "save the table as CSV"
_IN_R = "in R: write.csv(frame, 'reviews.csv', row.names=FALSE)"
_IN_PYTHON = "read it where it was written and write a table: frame.to_parquet('reviews.parquet')"
_DOWNLOAD = "it may say why the download failed; download the file again"


@dataclass(frozen=True)
class ForeignFile:
    """A kind of files that hold no text, or stand in for a file that does.

    Attributes:
        what: What such a file is, after "the file is".
        remedy: What makes its reviews readable; FILE stands for its name.
        begin: Its first bytes, whatever the case of letters is.
        pattern: Pattern of its first bytes, where the letters alone could begin a text.
        is_table: It holds records, so that no single command makes a text of it.
    """

    what: str
    remedy: str
    begin: bytes = b""
    pattern: bytes = b""
    is_table: bool = False

    def matches(self, head: bytes) -> bool:
        """Return whether a file with these first bytes is of this kind."""
        if self.begin:
            return head[: len(self.begin)].lower() == self.begin.lower()
        return re.match(self.pattern, head, re.DOTALL) is not None

    def remedy_for(self, name: str) -> str:
        """Return the remedy with the name of the file, quoted for a command line."""
        return self.remedy.replace("FILE", name)


def _python(module: str, table: str) -> str:
    """Return the command that writes a table, read by a module of pyarrow, as Parquet."""
    return (
        f'python -c "import {module}, pyarrow.parquet; '
        f"pyarrow.parquet.write_table({table}, 'reviews.parquet')\""
    )


def _table(
    what: str,
    remedy: str,
    begin: bytes,
) -> ForeignFile:
    return ForeignFile(what, remedy, begin, is_table=True)


FOREIGN_FILES = (
    ForeignFile(
        "a pointer of Git LFS",
        "fetch the file itself: git lfs pull",
        b"version https://git-lfs.github.com/spec/",
    ),
    ForeignFile(
        "a pointer of git-annex", "fetch the file itself: git annex get FILE", b"/annex/objects/"
    ),
    ForeignFile("a web page", _DOWNLOAD, b"<!doctype html"),
    ForeignFile("a web page", _DOWNLOAD, b"<html"),
    ForeignFile("packed by 7-Zip", _UNPACK, b"7z\xbc\xaf\x27\x1c"),
    ForeignFile("packed by RAR", _UNPACK, b"rar!\x1a\x07"),
    ForeignFile("packed by LZ4", "unpack it: lz4 -d FILE", b"\x04\x22\x4d\x18"),
    ForeignFile(
        "packed by Snappy", "unpack it: python -m snappy -d FILE OUT", b"\xff\x06\x00\x00snappy"
    ),
    ForeignFile("packed by compress", "unpack it: uncompress FILE", b"\x1f\x9d"),
    ForeignFile("packed by lzip", "unpack it: lzip -d FILE", b"lzip\x01"),
    _table("a database of SQLite", "write the table as CSV", b"sqlite format 3\0"),
    _table(
        "in Arrow's own format (Feather)",
        _python("pyarrow.feather", "pyarrow.feather.read_table('FILE')"),
        b"arrow1\0\0",
    ),
    ForeignFile(
        "a stream in Arrow's own format",
        _python("pyarrow.ipc", "pyarrow.ipc.open_stream('FILE').read_all()"),
        pattern=rb"\xff\xff\xff\xff[^\xff].\0\0\x10\0\0\0",
        is_table=True,
    ),
    _table(
        "in the format Avro",
        "python -c \"import polars; polars.read_avro('FILE').write_parquet('reviews.parquet')\"",
        b"obj\x01",
    ),
    _table(
        "in the format HDF5",
        "pandas.read_hdf('FILE').to_parquet('reviews.parquet')",
        b"\x89hdf\r\n",
    ),
    _table("an array of NumPy", "write one JSON object a review", b"\x93numpy"),
    _table("a pickle of Python", _IN_PYTHON, b"\x80\x03"),
    _table("a pickle of Python", _IN_PYTHON, b"\x80\x04"),
    _table("a pickle of Python", _IN_PYTHON, b"\x80\x05"),
    _table("a PDF", "export its table as CSV", b"%pdf-"),
    _table("an old file of Excel or Word", _TO_CSV, b"\xd0\xcf\x11\xe0"),
    _table("a file of SPSS", _TO_CSV, b"$fl2"),
    _table("a file of R", _IN_R, b"rdx3\n"),
    _table("a file of R", _IN_R, b"rdx2\n"),
    _table("a file of R", _IN_R, b"x\n\0\0\0\x03"),
    ForeignFile("a program", "name the file with the reviews", b"\x7felf"),
    ForeignFile(
        "a dump of MongoDB (BSON)",
        "bsondump FILE > reviews.jsonl",
        pattern=rb"..\0\0[\x02\x07](_id|text)\0",
        is_table=True,
    ),
    ForeignFile(
        "in the format ORC",
        _python("pyarrow.orc", "pyarrow.orc.read_table('FILE')"),
        pattern=rb"ORC(?:.{0,2}[\x00-\x08\x0e-\x1f]|[\x80-\xff])",
        is_table=True,
    ),
)
"""Kinds of files that no reader takes for a text."""


def foreign_file(head: bytes) -> ForeignFile | None:
    """Return the kind of a file by its first bytes (`LONGEST_BEGIN`); None if it may be a text."""
    return next((kind for kind in FOREIGN_FILES if kind.matches(head)), None)
