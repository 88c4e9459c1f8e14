"""The files of an ingestion: names of parts, and writing that leaves a whole file or none."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl


def part_name(number: int) -> str:
    """Return a part's name without its suffix."""
    return f"part-{number:05d}"


def finished_parts(raw: Path) -> int:
    """Return how many parts stand whole, counted from the first."""
    number = 0
    while (raw / f"{part_name(number)}.json").exists():
        number += 1
    return number


def parquet_bytes(frame: pl.DataFrame) -> bytes:
    """Return the frame as a Parquet file in memory, so that Python's own writing reports a full disk."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=1)
    return buffer.getvalue()


def write_whole(path: Path, content: bytes) -> None:
    """Write under a temporary name and rename: the file is there whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
