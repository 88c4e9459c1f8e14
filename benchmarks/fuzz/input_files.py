"""Write input files of every format and packing with odd values, odd structure and damage, and check their reading."""

from __future__ import annotations

import bz2
import csv
import gzip
import hashlib
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
from pyarrow import parquet

from benchmarks.fuzz.mutations import VALUES, damaged
from benchmarks.fuzz.odd_values import DATES, FIELDS, MOMENTS, NUMBERS, TEXTS, TYPES
from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.corpus.cleaning.business import read_businesses
from reviewlm.corpus.ingestion.parts import iter_quarantine
from reviewlm.corpus.ingestion.quarantine import export, summarise
from tests.corpus.data_sets import ingest


def records(rng: Random) -> list[dict[str, Any]]:
    """Return some reviews; a few of their values are odd."""
    odd = rng.choice([0.0, 0.02, 0.3])
    return [_record(rng, number, odd) for number in range(rng.choice([0, 1, 2, 7, 30, 90]))]


def _record(
    rng: Random,
    number: int,
    odd: float,
) -> dict[str, Any]:
    record: dict[str, Any] = {
        "review_id": f"r{number}",
        "user_id": f"u{number % 5}",
        "business_id": f"b{number % 3}",
        "stars": number % 5 + 1,
        "text": f"A fine place, number {number}.",
        "date": DATES[0],
    }
    pools = {
        "text": TEXTS,
        "date": DATES,
        "stars": NUMBERS,
    }
    for name in FIELDS:
        if rng.random() < odd:
            record[name] = rng.choice(pools.get(name, TEXTS))

    if rng.random() < odd:
        record[rng.choice(FIELDS)] = rng.choice(VALUES)

    if rng.random() < odd:
        del record[rng.choice(FIELDS)]

    return record


def _lines(rng: Random, rows: list[dict[str, Any]]) -> tuple[bytes, int | None]:
    lines = [
        json.dumps(row, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
        for row in rows
    ]
    for _ in range(rng.choice([0, 0, 1, 3])):
        lines.insert(
            rng.randint(0, len(lines)),
            damaged(rng, rng.choice([*lines, b"{}"])).replace(b"\n", b" "),
        )

    full = [line for line in lines if line.strip().removeprefix(b"\xef\xbb\xbf")]
    return rng.choice([b"\n", b"\n\n"]).join(lines) + rng.choice([b"", b"\n"]), len(full)


def _array(rng: Random, rows: list[dict[str, Any]]) -> tuple[bytes, int | None]:
    pretty = orjson.OPT_INDENT_2 if rng.random() < 0.5 else 0
    try:
        return orjson.dumps(rows, option=pretty), len(rows)
    except TypeError:  # an integer with more than 64 bits
        return json.dumps(rows, indent=2 if pretty else None).encode(), len(rows)


def _delimited(rng: Random, rows: list[dict[str, Any]]) -> tuple[bytes, int | None]:
    out = io.StringIO(newline="")
    names = [name for name in FIELDS if name == "text" or rng.random() < 0.8]
    rng.shuffle(names)
    if rng.random() < 0.1:
        names.append(rng.choice([*names, "", "index"]))

    quoted = rng.random() < 0.5
    writer = csv.writer(
        out,
        delimiter=rng.choice(",\t;"),
        lineterminator=rng.choice(["\n", "\r\n"]),
        quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL,
    )
    writer.writerow(names)
    extra = 0
    for row in rows:
        values = [str(row.get(name, "")) for name in names]
        # Python does not quote a carriage return, so each line of such a record would go to quarantine separately.
        writer.writerow(values if quoted else [value.replace("\r", "") for value in values])
        if rng.random() < 0.02:
            writer.writerow(names)
            extra += 1

    return out.getvalue().encode("utf-8", "surrogatepass"), len(rows) + extra


def _text(rng: Random, rows: list[dict[str, Any]]) -> tuple[bytes, int | None]:
    lines = [
        str(row.get("text", "")).replace("\n", " ").encode("utf-8", "surrogatepass") for row in rows
    ]
    return b"\n".join(lines), None


def _parquet(rng: Random, rows: list[dict[str, Any]]) -> tuple[bytes, int | None]:
    columns = {name: pa.array([str(row.get(name)) for row in rows], pa.string()) for name in FIELDS}
    kinds = rng.choice(TYPES)
    whole = pa.int32() if kinds == pa.date32() else pa.int64()
    most = 2**31 - 1 if whole == pa.int32() else 2**63 - 1
    moments = [rng.choice(MOMENTS) for _ in rows]
    columns["date"] = pa.array([m and max(-most, min(most, m)) for m in moments], whole).view(kinds)
    if rng.random() < 0.3:
        name = rng.choice(FIELDS)
        columns[name] = pa.array(
            [rng.choice([[1], [], None, ["a", "b"]]) and None for _ in rows], pa.list_(pa.int64())
        )

    if rng.random() < 0.3:
        columns["stars"] = pa.array(
            [rng.choice([1.0, None, float("nan"), 1e300]) for _ in rows], pa.float64()
        )

    if rng.random() < 0.2:
        columns["user_id"] = pa.array(
            [f"u{number % 3}" for number in range(len(rows))]
        ).dictionary_encode()

    out = io.BytesIO()
    try:
        parquet.write_table(
            pa.table(columns),
            out,
            row_group_size=rng.choice([1, 7, 1000]),
            compression=rng.choice(["none", "zstd", "snappy"]),
            use_deprecated_int96_timestamps=rng.random() < 0.1,
            coerce_timestamps=None,
        )
    except pa.ArrowException:  # pyarrow cannot write every time that it can read
        return b"PAR1", None

    content = out.getvalue()
    if rng.random() < 0.2:
        content = content.replace(b"number", b"numb\xff\xff", 3)

    return content, len(rows)


FORMATS: dict[str, Callable[[Random, list[dict[str, Any]]], tuple[bytes, int | None]]] = {
    "jsonl": _lines,
    "json": _array,
    "csv": _delimited,
    "tsv": _delimited,
    "txt": _text,
    "parquet": _parquet,
}


def _tar(
    rng: Random,
    name: str,
    content: bytes,
) -> tuple[bytes, int]:
    """Return an archive, and the number of times the file is in it."""
    out = io.BytesIO()
    times = rng.choice([1, 1, 1, 3])
    form = rng.choice([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
    with tarfile.open(
        fileobj=out,
        mode="w",
        format=form,
    ) as archive:
        for number in range(times):
            info = tarfile.TarInfo(
                rng.choice(
                    [f"review.{name}", f"a/review_{number}.{name}", f"{'d' * 60}/review.{name}"]
                )
            )
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
            other = tarfile.TarInfo(rng.choice(["photo.jpg", "._review.json", "é.txt.md"]))
            other.type = rng.choice(
                [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE]
            )
            archive.addfile(other, io.BytesIO(b""))

    packed = out.getvalue()
    if rng.random() < 0.2:
        return _damaged_head(rng, packed), 0

    return packed, times


def _damaged_head(rng: Random, packed: bytes) -> bytes:
    """Return a tar with one changed field in one header, and a correct checksum of that header."""
    blocks = [
        place
        for place in range(0, len(packed) - 511, 512)
        if packed[place + 257 : place + 262] == b"ustar"
    ]
    if not blocks:
        return damaged(rng, packed)

    place = rng.choice(blocks)
    head = bytearray(packed[place : place + 512])
    begin, length = rng.choice(
        [(0, 100), (124, 12), (156, 1), (157, 100), (345, 12), (386, 96), (482, 1), (483, 12)]
    )
    kind = rng.choice(b"01235KLSVxgX") if begin == 156 else rng.randrange(256)
    value = rng.choice(
        [rng.randbytes(length), b"\xff" * length, b"\x80" + b"\x7f" * (length - 1), b"7" * length]
    )
    head[begin : begin + length] = bytes([kind]) if length == 1 else value
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return packed[:place] + bytes(head) + packed[place + 512 :]


def _zip(
    rng: Random,
    name: str,
    content: bytes,
) -> tuple[bytes, int]:
    out = io.BytesIO()
    kind = rng.choice(
        [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
    )
    with zipfile.ZipFile(out, "w", kind) as archive:
        # Without the time of day.
        archive.writestr(zipfile.ZipInfo(f"review.{name}"), content, kind)
    return out.getvalue(), 1


def _packed(
    rng: Random,
    name: str,
    content: bytes,
) -> tuple[str, bytes, int]:
    """Return a file packed once more: its suffix, its bytes, and the number of times the content is in it."""
    kind = rng.choice(["gz", "zst", "bz2", "xz", "tar", "zip"])
    if kind in ("tar", "zip"):
        return kind, *(_tar if kind == "tar" else _zip)(rng, name, content)

    compress: Any = {
        "gz": partial(gzip.compress, mtime=0),
        "bz2": bz2.compress,
        "xz": lzma.compress,
        "zst": lambda raw: pa.Codec("zstd").compress(raw, asbytes=True),
    }[kind]
    return f"{name}.{kind}", compress(content), 1


def make(rng: Random, case: Path) -> None:
    """Write one file, and `case.json` with its settings and the number of its records, if known."""
    suffix = rng.choice(list(FORMATS))
    content, count = FORMATS[suffix](rng, records(rng))
    if rng.random() < 0.3:
        content = damaged(rng, content)
        count = None

    if rng.random() < 0.05:
        encoding = rng.choice(["utf-16", "utf-32", "utf-16-le", "utf-8-sig", "cp500", "utf-7"])
        content = content.decode("utf-8", "ignore").encode(encoding, "replace")
        count = None

    for _ in range(rng.choice([0, 0, 1, 1, 2, 3])):
        suffix, content, times = _packed(rng, suffix, content)
        count = None if count is None or not times else count * times
        if rng.random() < 0.15:
            content = damaged(rng, content)
            count = None

    if rng.random() < 0.1:
        suffix = rng.choice(["bin", "json", "txt", "csv", "parquet", "tar.gz"])
        count = None

    settings = {}
    if rng.random() < 0.2:
        chosen = {
            "max_chars": 50,
            "max_record_bytes": 1_000,
            "max_expansion": 2,
            "part_rows": 7,
        }
        settings = {name: value for name, value in chosen.items() if rng.random() < 0.5}
        count = None

    name = f"review.{suffix}"
    (case / name).write_bytes(content)
    (case / "case.json").write_text(
        json.dumps(
            {
                "name": name,
                "settings": settings,
                "count": count,
            }
        )
    )


def check(case: Path, work: Path) -> str:
    """Read the file; every record must be accounted for, and it must be possible to show the quarantined ones."""
    known = json.loads((case / "case.json").read_text())
    facts = ingest([case / known["name"]], work / "out", SourceConfig(**known["settings"]))
    assert facts["records"] == facts["rows"] + facts["quarantined"] + facts["duplicates"], facts
    if known["count"] is not None:
        assert facts["records"] == known["count"], (
            f"{known['count']} records, {facts['records']} accounted for"
        )

    parts = [pl.read_parquet(path) for path in sorted((work / "out" / "parts").glob("*.parquet"))]
    assert sum(part.height for part in parts) == facts["rows"], "rows"
    assert all(part["text"].null_count() == 0 for part in parts), "a row without a text"
    set_aside = 0
    digest = hashlib.sha256()
    for bad in iter_quarantine(work / "out" / "quarantine.parquet"):
        set_aside += bad.height
        digest.update(repr(bad.rows()).encode("utf-8", "replace"))
        for part in parts:
            part["date"].to_list()

    assert set_aside == facts["quarantined"] + facts["duplicates"] - facts["copied"], "quarantine"
    summarise([work / "out" / "quarantine.parquet"])
    if facts["quarantined"]:
        export([work / "out" / "quarantine.parquet"], work / "export.jsonl")

    return f"{facts['content_sha256']} {digest.hexdigest()}"


def make_business(rng: Random, case: Path) -> None:
    """Write a table of businesses."""
    rows: list[dict[str, Any]] = [
        {
            "business_id": f"b{number}",
            "name": rng.choice(TEXTS),
            "city": "Phoenix",
            "categories": "Food, Bars",
        }
        for number in range(rng.choice([0, 1, 5]))
    ]
    for row in rows:
        if rng.random() < 0.1:
            row[rng.choice(list(row))] = rng.choice(VALUES)

    content = b"\n".join(json.dumps(row).encode() for row in rows)
    if rng.random() < 0.4:
        content = damaged(rng, content)

    name = "business.json"
    for _ in range(rng.choice([0, 1, 1, 2, 6])):
        name, content, _ = _packed(rng, name, content)
        if rng.random() < 0.2:
            content = damaged(rng, content)

    (case / "business").write_bytes(content)


def check_business(case: Path, work: Path) -> str:
    """Read the table."""
    found = read_businesses(case / "business")
    return f"{found.table.height} {found.repeated} {found.without_id}"
