"""Read quarantined records again: alone if possible, otherwise together with their whole file.

A CSV record needs the header of its file. Of a record that was too large, only the beginning is in quarantine.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import polars as pl

from core.errors import Unreadable
from corpus.archives.names import uncompressed
from corpus.reading.formats import read_text
from corpus.reading.jsonlines import decode
from corpus.reading.readers import Progress, read
from corpus.reading.sources import Listed, identify, input_errors
from corpus.schema import COLUMNS, QUARANTINE, Block, Limits, Reason

BATCH = 20_000
CUT = "source.max_record_bytes"
"""Text in the detail of a record of which only the beginning was kept."""
OF_TEXT = (Reason.ENCODING.value, Reason.TOO_LONG.value)
"""What can be wrong with a line of plain text."""
PLACE = ["source", "line"]


@dataclass(frozen=True)
class Mended:
    """Records corrected by the user: *rows* has `source`, `line` and the new `raw`."""

    rows: pl.DataFrame

    def of(self, pending: pl.DataFrame) -> pl.DataFrame:
        """Return the pending records that were corrected, with the new bytes."""
        return pending.drop("raw").join(self.rows, on=PLACE, how="inner", maintain_order="left")


def read_mended(fixed: Path, pending: Iterable[pl.DataFrame]) -> Mended:
    """Read a file of corrected records: JSON lines with `source`, `line` and `raw` (a string, or the record itself).

    If a place occurs twice, the last value is used.

    Raises:
        Unreadable: A line is not such an object, or names a place that is not among the pending records.
    """
    known = {place for frame in pending for place in frame.select(PLACE).iter_rows()}
    found: dict[tuple[str, int], bytes] = {}
    with input_errors(fixed), fixed.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                source, place, raw = _mended_record(line, f"{fixed}, line {number}")
                if (source, place) not in known:
                    raise _unknown(source, place, f"{fixed}, line {number}")
                found[source, place] = raw
    columns = {"source": [s for s, _ in found], "line": [n for _, n in found], "raw": list(found.values())}
    return Mended(pl.DataFrame(columns, schema={name: QUARANTINE[name] for name in (*PLACE, "raw")}))


def _mended_record(line: bytes, where: str) -> tuple[str, int, bytes]:
    try:
        record: Any = json.loads(line)
        source, number, raw = record["source"], record["line"], record["raw"]
        if not isinstance(source, str) or type(number) is not int or not isinstance(raw, str | dict):
            raise TypeError("source must be a string, line a whole number, raw a string or an object")
        content = raw.encode("utf-8", "surrogateescape") if isinstance(raw, str) else json.dumps(raw).encode()
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Unreadable(
            "This is not a record of a corrected file", where=where, value=line[:200].decode("utf-8", "replace"),
            cause=f"{type(error).__name__}: {error}",
            remedy="give JSON lines with source, line and raw, as `reviewlm data quarantine export` writes them",
        ) from error
    return source, number, content


def _unknown(source: str, line: int, where: str) -> Unreadable:
    return Unreadable(
        "The corrected file names a record that is not in quarantine", where=where, value=f"{source}, line {line}",
        cause="it was never there, is a duplicate, or has already been replayed",
        remedy="keep the fields `source` and `line` as `reviewlm data quarantine export` wrote them",
    )


def read_again(
    pending: pl.DataFrame, source: Listed, path: Path | None, limits: Limits, fixed: bool
) -> tuple[pl.DataFrame, Counter[str]]:
    """Read records of one source again.

    Args:
        pending: Records with the columns of `QUARANTINE`.
        path: Path of the file, if known.
        fixed: Whether the user corrected the bytes, so that the file itself does not help.

    Returns:
        The good rows (`COLUMNS`, with their original place), and the number of the other records by reason.

    Raises:
        Unreadable: Some records need their file, which does not exist or has changed; or the user left one as CSV.
    """
    pending = pending.select(QUARANTINE.keys())
    kinds = pl.Series([_kind(**row) for row in pending.drop("line").iter_rows(named=True)], dtype=pl.String)
    blocks: list[Block] = []
    for kind in ("json", "text"):
        folder = pl.col("source").str.extract(r"^(.*/)").fill_null("")  # its name may have fields of the records
        for _, some in pending.filter(kinds == kind).group_by(folder, maintain_order=True):
            blocks += _alone(some, kind, limits)
    if (rows := pending.filter(kinds == "file")).height:
        if fixed:
            raise _headless(rows)
        blocks.append(_with_file(rows, source, path, limits))
    good = pl.concat([pl.DataFrame(schema=COLUMNS), *(block.good for block in blocks)])
    reasons: Counter[str] = Counter()
    for block in blocks:
        reasons.update(block.bad["reason"].to_list())
    return good, reasons


def _kind(source: str, reason: str, detail: str, raw: bytes) -> str:
    """Return how to read a record; a JSON object is read as one in any file, because the user may write one."""
    if CUT in detail and not raw.rstrip().endswith(b"}"):
        return "file"
    if raw.lstrip().startswith(b"{"):
        return "json"
    suffix = uncompressed(source.rpartition(":")[2]).suffix.lower()
    if suffix == ".txt" and reason in OF_TEXT and not raw.endswith(b"\n"):
        return "text"
    if suffix == ".txt":  # a table that is called so
        return "file"
    return "file" if suffix in {".csv", ".tsv"} or raw.endswith(b"\n") else "json"


def _alone(pending: pl.DataFrame, kind: str, limits: Limits) -> Iterator[Block]:
    """Read records that are each one line of a file without a header."""
    for batch in pending.iter_slices(BATCH):
        # Inside a JSON value a line break has the same meaning as a space.
        lines, left = [raw.replace(b"\n", b" ") for raw in batch["raw"]], batch
        for block in _blocks(lines, kind, batch["source"][0], limits):
            good = block.good.with_columns(_place(batch, block.good["line"]))
            bad = block.bad.with_columns(_place(batch, block.bad["line"]))
            left = left.join(pl.concat([good.select(PLACE), bad.select(PLACE)]), on=PLACE, how="anti")
            yield Block(good, bad)
        yield Block(pl.DataFrame(schema=COLUMNS), left)


def _blocks(lines: Sequence[bytes], kind: str, source: str, limits: Limits) -> Iterator[Block]:
    """Read lines, numbered from 1. A few records need not have all fields that the user has named, unlike a file."""
    if kind == "json" and lines:
        yield decode(lines, range(1, 1 + len(lines)), source, limits)
    elif lines:
        stream = cast(io.BufferedReader, io.BufferedReader(io.BytesIO(b"\n".join(lines))))
        yield from read_text(stream, source, limits)


def _place(batch: pl.DataFrame, lines: pl.Series) -> list[pl.Series]:
    """Return the original places of records by their number, from 1."""
    rows = (lines - 1).to_numpy()
    return [batch[name][rows] for name in PLACE]


def _with_file(pending: pl.DataFrame, source: Listed, path: Path | None, limits: Limits) -> Block:
    """Read the whole file again, and take the records at the wanted places."""
    if path is None or not path.is_file() or identify(path, source.name).sha256 != source.sha256:
        raise Unreadable(
            "These records can only be read again from their original file", where=path or source.name,
            value=f"{pending.height} records, the first on line {pending['line'][0]}",
            cause="they are CSV, which needs its header, or were too large to be kept; and the file is gone or changed",
            remedy="put the file back, or correct the records as JSON objects and give them as the corrected file",
        )
    places = pending.select(PLACE)
    good, bad = [pl.DataFrame(schema=COLUMNS)], [pl.DataFrame(schema=QUARANTINE)]
    for block in read(path, source.name, limits, Progress()):
        good.append(block.good.join(places, on=PLACE, how="semi", maintain_order="left"))
        bad.append(block.bad.join(places, on=PLACE, how="semi", maintain_order="left"))
    return Block(pl.concat(good), pl.concat(bad))


def _headless(pending: pl.DataFrame) -> Unreadable:
    first = pending.row(0, named=True)
    return Unreadable(
        "This record can only be replayed as a JSON object", where=f"{first['source']}, line {first['line']}",
        value=first["raw"][:200].decode("utf-8", "replace"),
        cause="it is CSV without the header that names its fields, or only the beginning of a record",
        remedy='write {"review_id": …, "text": …} as its `raw`',
    )
