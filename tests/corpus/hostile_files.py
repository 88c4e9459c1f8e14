"""Files that nobody wants to meet, each with what must come of it: its good records and the reasons of the others, or
an error with these words."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import time, timedelta

import polars as pl

from reviewlm.core.errors import EmptyInput, MissingColumn, ReviewLMError, Unreadable
from tests.corpus.review_files import json_lines, packed_tar, packed_zip, review, zstd

FIRST, LAST = (json_lines([review(number)]) for number in (1, 2))


@dataclass(frozen=True)
class Hostile:
    """A file's content; of what it holds *good* records and bad ones as (line, reason), or an error.

    Large content is a function, so that it is not made where tests are only collected.
    """

    content: bytes | Callable[[], bytes]
    good: int = 0
    bad: tuple[tuple[int, str], ...] = ()
    error: type[ReviewLMError] | None = None
    says: str = ""
    name: str = "reviews.jsonl"
    settings: dict[str, float] = field(default_factory=dict)

    @property
    def whole(self) -> bytes:
        """The content, made now if it is large."""
        return self.content if isinstance(self.content, bytes) else self.content()


def line(bad: bytes, reason: str) -> Hostile:
    """A bad second line between two good ones."""
    return Hostile(FIRST + bad + b"\n" + LAST, good=2, bad=((2, reason),))


def fine(middle: bytes) -> Hostile:
    """An odd second line that is nevertheless a record."""
    return Hostile(FIRST + middle + b"\n" + LAST, good=3)


def having(**values: object) -> bytes:
    """A record as one line, with these values."""
    return json.dumps({**review(7), **values}).encode()


def raw(text: str) -> bytes:
    """A record whose text is this JSON literal, as it stands."""
    return having(text="@").replace(b'"@"', text.encode("utf-8", "surrogatepass"))


def damaged(content: bytes, place: int) -> bytes:
    """The content with one byte changed."""
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A tar with members that `tarfile` would not write of itself."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def member(
    name: str,
    kind: bytes = tarfile.REGTYPE,
    link: str = "",
) -> tarfile.TarInfo:
    """The head of a member of a tar."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def encrypted_zip() -> bytes:
    """A zip whose member says that it is encrypted."""
    content = bytearray(packed_zip({"reviews.json": FIRST}))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def crc_wrong() -> bytes:
    """A gzip file with another checksum at its end."""
    packed = gzip.compress(FIRST + LAST)
    return packed[:-8] + (zlib.crc32(b"other")).to_bytes(4, "little") + packed[-4:]


def parquet(**columns: object) -> bytes:
    """A Parquet file with these columns."""
    out = io.BytesIO()
    pl.DataFrame(columns).write_parquet(out, compression="uncompressed")
    return out.getvalue()


def bomb() -> bytes:
    """80 MiB that become some kilobytes when compressed."""
    return b"\0" * (80 << 20)


CSV = b"review_id,stars,text,date\na1,5,good,2020-01-01\n"
HEAD = CSV.partition(b"\n")[0] + b"\n"
DEEP = b"[" * 200_000
BOTH = FIRST + LAST
CSV_IN = {"name": "reviews.csv"}
TABLE = {"name": "r.parquet"}

LINES = {
    "a line cut in the middle": line(having()[:60], "malformed"),
    "a last line without its end": Hostile(FIRST + having()[:60], good=1, bad=((2, "malformed"),)),
    "two objects on a line": line(having() + having(), "malformed"),
    "an object over two lines": Hostile(
        FIRST + having()[:40] + b"\n" + having()[40:] + b"\n" + LAST,
        good=2,
        bad=((2, "malformed"), (3, "malformed")),
    ),
    "a repeated key": fine(b'{"review_id": "x", "stars": 1, "stars": 4, "text": "a", "text": "b"}'),
    "a lone high surrogate": line(raw(r'"a \ud83d b"'), "encoding"),
    "a lone low surrogate": line(raw(r'"a \ude00 b"'), "encoding"),
    "a surrogate as bytes": line(raw('"a \ud800 b"'), "encoding"),
    "an overlong slash": line(having(text="@").replace(b"@", b"\xc0\xaf"), "encoding"),
    "Latin-1": line(having(text="@").replace(b"@", b"caf\xe9"), "encoding"),
    "stars that are not a number": fine(having(stars=float("nan"))),
    "infinite stars": line(having(stars=float("inf")), "malformed"),
    "stars NaN as a string": fine(having(stars="NaN")),
    "stars in words": line(having(stars="five"), "bad_stars"),
    "stars as a list": line(having(stars=[5]), "bad_stars"),
    "stars as a string": fine(having(stars="4.0")),
    "stars out of range": fine(having(stars=-3)),
    "the year 1": fine(having(date="0001-01-01 00:00:00")),
    "a date in the year 1": line(having(date="0001-02-01 00:00:00"), "bad_date"),
    "the year 10000": line(having(date="10000-01-01 00:00:00"), "bad_date"),
    "the 30th of February": line(having(date="2020-02-30"), "bad_date"),
    "seconds since 1970": fine(having(date=1577836800)),
    "seconds before 1990": line(having(date=-1577836800), "bad_date"),
    "a date that is a list": line(having(date=["2020-01-01"]), "bad_date"),
    "an hour 25": line(having(date="2020-01-01 25:00:00"), "bad_date"),
    "a NUL byte": line(having(text="@").replace(b"@", b"a\0b"), "malformed"),
    "an escaped NUL": fine(raw(r'"a \u0000 b"')),
    "a tab that is not escaped": line(having(text="@").replace(b"@", b"a\tb"), "malformed"),
    "a line separator in the text": fine(raw('"a \u2028 b"')),
    "a byte order mark in front": Hostile(b"\xef\xbb\xbf" + BOTH, good=2),
    "a byte order mark in the middle": fine(b"\xef\xbb\xbf" + having()),
    "line ends of Windows": Hostile(BOTH.replace(b"\n", b"\r\n"), good=2),
    "empty lines": Hostile(b"\n\n" + FIRST + b"  \t\n\n" + LAST + b"\n\n", good=2),
    "a text of a megabyte": line(having(text="x" * 1_000_000), "too_long"),
    "a line beyond the limit": Hostile(
        FIRST + having(text="x" * 3_000_000) + b"\n" + LAST,
        good=2,
        bad=((2, "too_long"),),
        settings={"max_record_bytes": 1_000_000},
    ),
    "brackets two hundred thousand deep": line(DEEP, "malformed"),
    "a field two hundred thousand deep": line(
        b'{"text": "a", "more": ' + DEEP + b"]" * len(DEEP) + b"}", "malformed"
    ),
    "an array": line(b"[" + having() + b"]", "not_a_record"),
    "a number": line(b"17", "not_a_record"),
    "a string": line(b'"text"', "not_a_record"),
    "null": line(b"null", "not_a_record"),
    "an empty object": line(b"{}", "missing_text"),
    "a text of null": line(having(text=None), "missing_text"),
    "a text that is a number": line(having(text=12), "wrong_type"),
    "a text that is a list": line(having(text=["a"]), "wrong_type"),
    "an id that is an object": line(having(review_id={"id": "1"}), "wrong_type"),
    "an id that is true": line(having(review_id=True), "wrong_type"),
    "an id that is a number": fine(having(review_id=123)),
    "no id": fine(having(review_id=None)),
    "an empty id": fine(having(review_id="")),
    "fields that are not read": fine(
        having(
            useful="many",
            cool=3_000_000_000,
            funny=[-1],
        )
    ),
    "a number beyond all bounds": line(having(stars="@").replace(b'"@"', b"1e999"), "malformed"),
    "a comma too many": line(having()[:-1] + b",}", "malformed"),
    "single quotes": line(having().replace(b'"', b"'"), "malformed"),
    "a comment": line(b"// " + having(), "malformed"),
    "unknown fields": fine(having(photo="x", more={"a": [1, {"b": None}]})),
}

BAD_LINES = [
    case.whole.split(b"\n")[1]
    for case in LINES.values()
    if len(case.bad) == 1 and 0 < len(case.whole) < 5_000
]

FILES = {
    "an empty file": Hostile(b"", error=EmptyInput, says="no records"),
    "nothing but a line end": Hostile(b"\n", error=EmptyInput, says="no records"),
    "a page of HTML": Hostile(
        b"<!doctype html>\n<html><body>404</body></html>\n", error=Unreadable, says="a web page"
    ),
    "a pointer instead of the file": Hostile(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 5\n",
        error=Unreadable,
        says="git lfs pull",
    ),
    "UTF-16": Hostile(BOTH.decode().encode("utf-16"), error=Unreadable, says="UTF-16"),
    "another table": Hostile(
        b'{"business_id": "a", "name": "b"}\n', error=MissingColumn, says="business_id"
    ),
    "bytes of no known format": Hostile(
        bytes(range(128, 256)) * 9,
        error=Unreadable,
        says="format",
        name="x.bin",
    ),
    "an array cut off": Hostile(
        b"[" + having() + b"," + having()[:9],
        error=Unreadable,
        says="cut off",
        name="a.json",
    ),
    "something behind an array": Hostile(
        b"[" + having() + b"] x",
        good=1,
        bad=((2, "malformed"),),
        name="a.json",
    ),
}

PACKED = {
    "a gzip file cut off": Hostile(
        gzip.compress(BOTH)[:-20],
        error=Unreadable,
        says="cut off",
        name="r.jsonl.gz",
    ),
    "a gzip file with a wrong checksum": Hostile(
        crc_wrong(),
        error=Unreadable,
        says="damaged",
        name="r.jsonl.gz",
    ),
    "a gzip file with rubbish behind it": Hostile(
        gzip.compress(BOTH) + b"rubbish",
        error=Unreadable,
        says="not compressed",
        name="r.jsonl.gz",
    ),
    "a gzip file of several members": Hostile(
        gzip.compress(FIRST) + gzip.compress(LAST), good=2, name="r.jsonl.gz"
    ),
    "gzip within gzip": Hostile(gzip.compress(gzip.compress(BOTH)), good=2, name="r.jsonl.gz.gz"),
    "a gzip bomb": Hostile(
        lambda: gzip.compress(bomb()),
        error=Unreadable,
        says="max_expansion",
        name="r.jsonl.gz",
    ),
    "a gzip bomb in two layers": Hostile(
        lambda: gzip.compress(gzip.compress(bomb())),
        error=Unreadable,
        says="max_expansion",
        name="r.jsonl.gz",
    ),
    "a zstd file cut off": Hostile(
        zstd(BOTH)[:-9],
        error=Unreadable,
        says="cut off",
        name="r.jsonl.zst",
    ),
    "a zstd file with a changed byte": Hostile(
        damaged(zstd(BOTH * 50), 30),
        error=ReviewLMError,
        says="",
        name="r.jsonl.zst",
    ),
    "a zstd bomb": Hostile(
        lambda: zstd(bomb()),
        error=Unreadable,
        says="max_expansion",
        name="r.jsonl.zst",
    ),
    "a tar cut off": Hostile(
        packed_tar({"review.json": BOTH * 40}, "w")[:-11_000],
        error=Unreadable,
        says="cut off",
        name="y.tar",
    ),
    "a packed tar cut off": Hostile(
        packed_tar({"review.json": BOTH})[:-30], error=Unreadable, name="y.tar.gz"
    ),
    "a link in a tar": Hostile(
        tar_of((member("review.json", tarfile.SYMTYPE, "/etc/passwd"), b"")),
        error=EmptyInput,
        says="no reviews",
        name="y.tar",
    ),
    "a link beside the reviews": Hostile(
        tar_of(
            (member("old_review.json", tarfile.LNKTYPE, "/etc/passwd"), b""),
            (member("review.json"), BOTH),
        ),
        good=2,
        name="y.tar",
    ),
    "a way out of a tar": Hostile(
        tar_of((member("../../review.json"), BOTH)), good=2, name="y.tar"
    ),
    "an absolute path in a tar": Hostile(
        tar_of((member("/tmp/review.json"), BOTH)), good=2, name="y.tar"
    ),
    "a pipe in a tar": Hostile(
        tar_of((member("review.json", tarfile.FIFOTYPE), b"")), error=EmptyInput, name="y.tar"
    ),
    "a tar of other things": Hostile(
        packed_tar({"photo.jpg": b"x"}),
        error=EmptyInput,
        says="photo.jpg",
        name="y.tgz",
    ),
    "a zip cut off": Hostile(
        packed_zip({"review.json": BOTH})[:-40],
        error=Unreadable,
        says="",
        name="y.zip",
    ),
    "an encrypted zip": Hostile(
        encrypted_zip(),
        error=Unreadable,
        says="encrypted",
        name="y.zip",
    ),
    "a zip bomb": Hostile(
        lambda: packed_zip({"review.json": bomb()}),
        error=Unreadable,
        says="max_expansion",
        name="y.zip",
    ),
    "a way out of a zip": Hostile(packed_zip({"../review.json": BOTH}), good=2, name="y.zip"),
}

LONG = b"long " * 300
SHORT_CSV = {**CSV_IN, "settings": {"max_record_bytes": 1000}}

TABLES = {
    "a CSV row that is too large": Hostile(
        CSV + b"a2,4," + LONG + b",\na3,3,fine,2020-01-03\n",
        good=2,
        bad=((3, "too_long"),),
        **SHORT_CSV,
    ),
    "a CSV row whose second line is too large": Hostile(
        CSV + b'a2,4,"one\n' + LONG + b'"\na3,3,fine,2020-01-03\n',
        good=2,
        bad=((3, "malformed"), (4, "too_long")),
        **SHORT_CSV,
    ),
    "a CSV with a quote that never ends in a large file": Hostile(
        CSV
        + b'a2,4,"no end,2020-01-02\n'
        + b"".join(b"b%d,3,fine,2020-01-03\n" % n for n in range(200)),
        good=201,
        bad=((3, "malformed"),),
        **SHORT_CSV,
    ),
    "a CSV with a header that is too large": Hostile(
        LONG + b"\n" + CSV,
        error=Unreadable,
        says="header",
        **SHORT_CSV,
    ),
    "a text with a line that is too large": Hostile(
        b"good\r\n" + LONG + b"\r\nalso good",
        good=2,
        bad=((2, "too_long"),),
        name="r.txt",
        settings={"max_record_bytes": 1000},
    ),
    "a text of the largest line that may be": Hostile(
        b"a" * 1000 + b"\r\n" + b"b" * 1000,
        good=2,
        name="r.txt",
        settings={"max_record_bytes": 1000},
    ),
    "a text whose last line is too large": Hostile(
        b"good\n" + b"b" * 1001,
        good=1,
        bad=((2, "too_long"),),
        name="r.txt",
        settings={"max_record_bytes": 1000},
    ),
    "a CSV with its header twice": Hostile(
        CSV + HEAD,
        good=1,
        bad=((3, "not_a_record"),),
        **CSV_IN,
    ),
    "a CSV of Windows": Hostile(CSV.replace(b"\n", b"\r\n"), good=1, **CSV_IN),
    "a CSV without a header": Hostile(
        CSV.partition(b"\n")[2],
        error=MissingColumn,
        says="no header",
        **CSV_IN,
    ),
    "a CSV of a header alone": Hostile(
        HEAD,
        error=EmptyInput,
        says="no records",
        **CSV_IN,
    ),
    "a Parquet file without texts": Hostile(
        parquet(review_id=["a"]),
        error=MissingColumn,
        says="review_id",
        **TABLE,
    ),
    "a Parquet file whose texts are numbers": Hostile(
        parquet(text=[1, 2]),
        error=Unreadable,
        says="no text",
        **TABLE,
    ),
    "a Parquet file whose texts are lists": Hostile(
        parquet(text=[["a"]]),
        error=Unreadable,
        says="no text",
        **TABLE,
    ),
    "a Parquet file whose ids are lists": Hostile(
        parquet(text=["a"], user_id=[["u"]]),
        error=Unreadable,
        says="'user_id' holds no ids",
        **TABLE,
    ),
    "a Parquet file whose ids are records": Hostile(
        parquet(text=["a"], review_id=[{"$oid": "u"}]),
        error=Unreadable,
        says="'review_id' holds no ids",
        **TABLE,
    ),
    "a Parquet file whose ids have been rounded": Hostile(
        parquet(text=["a", "b"], review_id=[1e22, 7.0]),
        good=1,
        bad=((1, "wrong_type"),),
        **TABLE,
    ),
    "a Parquet file whose ids are bytes": Hostile(
        parquet(text=["a"], user_id=[b"\xff"]),
        error=Unreadable,
        says="'user_id' holds no ids",
        **TABLE,
    ),
    "a Parquet file whose ids are numbers": Hostile(
        parquet(text=["a"], review_id=[7]), good=1, **TABLE
    ),
    "a Parquet file whose stars are lists": Hostile(
        parquet(text=["a"], stars=[[1]]),
        error=Unreadable,
        says="'stars' holds no numbers",
        **TABLE,
    ),
    "a Parquet file whose dates are times of day": Hostile(
        parquet(text=["a"], date=[time(1, 2)]),
        error=Unreadable,
        says="'date' holds no dates",
        **TABLE,
    ),
    "a Parquet file whose dates are spans": Hostile(
        parquet(text=["a"], date=[timedelta(1)]),
        error=Unreadable,
        says="'date' holds no dates",
        **TABLE,
    ),
    "a Parquet file with a string that is not UTF-8": Hostile(
        parquet(text=["good", "caf\xe9"]).replace(b"caf\xc3\xa9", b"caf\xff\xff"),
        good=1,
        bad=((2, "encoding"),),
        **TABLE,
    ),
    "a Parquet file cut off": Hostile(
        parquet(text=["a"] * 99)[:-50],
        error=Unreadable,
        says="damaged",
        **TABLE,
    ),
    "a Parquet file with gaps": Hostile(
        parquet(text=["a", None], stars=["1", "x"]),
        good=1,
        bad=((2, "missing_text"),),
        **TABLE,
    ),
}

HOSTILE = {
    **LINES,
    **FILES,
    **PACKED,
    **TABLES,
}
assert len(HOSTILE) == sum(map(len, (LINES, FILES, PACKED, TABLES)))
