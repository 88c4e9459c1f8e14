"""Name, write and describe the files of ingestion; a file is written completely or not at all."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl

from reviewlm.core.manifest import MANIFEST, read_manifest
from reviewlm.corpus.reading.sources import Listed
from reviewlm.corpus.schema import FIELDS, QUARANTINE

PARTS = "parts"
QUARANTINE_FILE = "quarantine.parquet"
READING_FILE = "read.json"
ENTRIES = "entries"
"""Fact of a reading: its entries for the account (`reviewlm.corpus.account`)."""
SET_ASIDE = "set_aside"
"""Fact of a reading, and of the entry of its file in a data set: why the whole file could not be read."""
SLICE = 2_000
"""Rows whose bytes are in memory at a time while they are hashed."""


def part_name(number: int) -> str:
    """Return the name of a part without its suffix."""
    return f"part-{number:05d}"


def part_files(folder: Path) -> list[Path]:
    """Return the files of the parts of an ingested data set, in order."""
    return sorted((folder / PARTS).glob("part-*.parquet"))


def parquet_bytes(frame: pl.DataFrame) -> memoryview:
    """Return the frame as a Parquet file in memory, so that Python writes the file and reports a full disk."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=1)
    return buffer.getbuffer()


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write under a temporary name, then rename, so that the file is complete or does not exist."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def link_whole(old: Path, new: Path) -> None:
    """Give a finished file a second name; copy it if the file system has no hard links."""
    temporary = new.with_name(new.name + ".tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(old, temporary)
    except OSError:
        shutil.copyfile(old, temporary)
    temporary.replace(new)


@dataclass(frozen=True)
class SourceReading:
    """The result of reading one source file: `parts/`, `quarantine.parquet` and `read.json` in a folder."""

    folder: Path

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Facts: name, bytes, sha256, settings, records, rows, quarantined, reasons, `parts` (see `describe`), `ENTRIES`.

        Of a file that could be read also `fields` (`file_traits.FileTraits.fields`).
        """
        return dict(orjson.loads((self.folder / READING_FILE).read_bytes()))

    @property
    def key(self) -> str:
        """The `Listed.key` of the file."""
        return Listed(self.facts["name"], self.facts["bytes"], self.facts["sha256"]).key

    @property
    def sums(self) -> dict[Path, str]:
        """SHA-256 of its files, once it is an artifact that was checked."""
        manifest = self.folder / MANIFEST
        if not manifest.is_file():
            return {}
        files = read_manifest(manifest)["files"]
        return {self.folder / name: entry["sha256"] for name, entry in files.items()}

    @property
    def paths(self) -> list[Path]:
        """The files of the parts, in order."""
        folder = self.folder / PARTS
        names = map(part_name, range(len(self.facts["parts"])))
        return [folder / f"{name}.parquet" for name in names]

    @property
    def quarantine(self) -> Path:
        """The file with the records that could not be used."""
        return self.folder / QUARANTINE_FILE


def describe(frame: pl.DataFrame, content: np.ndarray | None = None) -> dict[str, Any]:
    """Return the description of a part: rows, bytes (UTF-8 of the texts), dates and content (see `content_of`)."""
    if content is None:
        content = content_of(frame)

    text_bytes = int(frame["text"].str.len_bytes().sum())
    description: dict[str, Any] = {"rows": frame.height, "bytes": text_bytes}
    dates: dict[str, Any] = {"min": frame["date"].min(), "max": frame["date"].max()}
    description |= {f"date_{end}": date and date.isoformat() for end, date in dates.items()}
    description["content"] = content.tobytes().hex()
    return description


def content_of(frame: pl.DataFrame) -> np.ndarray:
    """Return the sum of the SHA-256 of all rows, as four unsigned 64-bit numbers that wrap around.

    It is a multiset hash (Bellare and Micciancio 1997, "AdHash"). Sums of parts add up to the sum of the whole, in any
    order and for any cut into parts, and a removed row is subtracted. The hash of a row covers `FIELDS`, but not its
    source and line.
    """
    total = np.zeros(4, dtype=np.uint64)
    for rows in frame.iter_slices(SLICE):
        contents = rows.select(_row_bytes()).to_series().to_list()
        hashed = b"".join([hashlib.sha256(content).digest() for content in contents])
        total += np.frombuffer(hashed, dtype="<u8").reshape(-1, 4).sum(axis=0, dtype=np.uint64)

    return total


def _row_bytes() -> pl.Expr:
    """Return an expression for a row as bytes; lengths and numbers come first, so different rows differ in bytes."""
    texts = [name for name in FIELDS if name in ("review_id", "user_id", "business_id", "text")]
    numbers = [pl.col(name).str.len_bytes() for name in texts]
    numbers += [pl.col(name).to_physical() for name in FIELDS if name not in texts]
    heads = [number.cast(pl.String).fill_null("-") for number in numbers]
    bodies = [pl.col(name).fill_null("") for name in texts]
    return pl.concat_str([*heads, *bodies], separator=" ").cast(pl.Binary)


def add_contents(contents: Sequence[str]) -> np.ndarray:
    """Return the sum of the contents in the form that `describe` writes."""
    total = np.zeros(4, dtype=np.uint64)
    for content in contents:
        total += np.frombuffer(bytes.fromhex(content), dtype="<u8")
    return total


def spread(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return rows, bytes, date_min and date_max of several parts together."""
    rows = sum(part["rows"] for part in parts)
    text_bytes = sum(part["bytes"] for part in parts)
    first = [part["date_min"] for part in parts if part["date_min"] is not None]
    last = [part["date_max"] for part in parts if part["date_max"] is not None]
    dates = {"date_min": min(first, default=None), "date_max": max(last, default=None)}
    return {
        "rows": rows,
        "bytes": text_bytes,
        **dates,
    }


def iter_quarantine(path: Path) -> Iterator[pl.DataFrame]:
    """Yield the records of a quarantine in order, one row group at a time."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            yield pl.DataFrame(pl.from_arrow(file.read_row_group(number))).cast(
                pl.Schema(QUARANTINE)
            )


class QuarantineWriter:
    """A writer of a quarantine in pieces, which may be larger than memory; the file appears when it is complete."""

    def __init__(self, path: Path) -> None:
        import pyarrow
        from pyarrow import parquet

        self.path = path
        self.temporary = path.with_name(path.name + ".tmp")
        empty = pl.DataFrame(schema=QUARANTINE).to_arrow(compat_level=pl.CompatLevel.oldest())
        self.file = self.temporary.open("wb")
        self.schema: pyarrow.Schema = empty.schema
        self.writer = parquet.ParquetWriter(self.file, self.schema, compression="zstd")

    def __enter__(self) -> QuarantineWriter:
        return self

    def add(self, bad: pl.DataFrame) -> None:
        """Append records."""
        if bad.height:
            self.writer.write_table(
                bad.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(self.schema)
            )

    def __exit__(self, kind: object, *rest: object) -> None:
        try:
            self.writer.close()
        finally:
            self.file.close()
        if kind is None:
            self.temporary.replace(self.path)
