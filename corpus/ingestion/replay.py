"""Replay quarantined records: read them again with the present code and settings, or after correction by the user.

A replay is a table of typed rows, kept permanently as `<replays>/<key of the source file>/<n>.parquet`. It belongs to
the bytes of the source (`Listed.key`) and to the names of its fields, not to its name or to a data set, so every data
set that is built from that file by these names uses it. `assemble_with` inserts the rows where they would be if they
had been good from the start, and removes them from the quarantine.

Records are read again alone if possible, otherwise together with their whole file. A CSV record needs the header of its
file. Of a record that was too large, only the beginning is in quarantine.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import orjson
import polars as pl
from filelock import FileLock

from core.errors import Damaged, EmptyInput, Unreadable, disk_errors
from core.store import sha256_of_file
from corpus.ingestion.build_dataset import assemble
from corpus.ingestion.parts import (
    PARTS,
    QUARANTINE_FILE,
    READING_FILE,
    QuarantineWriter,
    SourceReading,
    added,
    content_of,
    describe,
    iter_quarantine,
    link_whole,
    parquet_bytes,
    part_name,
    spread,
    write_whole,
)
from corpus.reading.archives import uncompressed
from corpus.reading.formats import read_text
from corpus.reading.jsonlines import decode
from corpus.reading.readers import Progress, read
from corpus.reading.sources import Listed, identify, input_errors, originals
from corpus.schema import COLUMNS, NOT_TO_CORRECT, QUARANTINE, Block, Limits, Reason

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
    places = {place for frame in pending for place in frame.select(PLACE).iter_rows()}
    records: dict[tuple[str, int], bytes] = {}
    with input_errors(fixed), fixed.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                source, place, raw = _mended_record(line, f"{fixed}, line {number}")
                if (source, place) not in places:
                    raise _unknown(source, place, f"{fixed}, line {number}")
                records[source, place] = raw
    columns = {"source": [s for s, _ in records], "line": [n for _, n in records], "raw": list(records.values())}
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


WORK, CHECKSUM = "replayed", ".sha256"
NAMES = "reviewlm.fields"
"""Metadata of a replay: the names of fields that it was read by, as JSON."""
log = logging.getLogger(__name__)


def replays_of(replays: Path, reading: SourceReading) -> list[Path]:
    """Return the replays of a source file by the same names of fields, the oldest first.

    Raises:
        Damaged: A replay differs from what was written. Replays are user data: they cannot be computed again.
    """
    files = sorted(_numbered(replays / reading.key), key=lambda path: int(path.stem))
    for path in files:
        checksum = path.with_suffix(CHECKSUM)
        if not checksum.is_file() or checksum.read_text().strip() != sha256_of_file(path):
            raise Damaged(
                "Records that came back from quarantine are damaged", where=path, cause="its SHA-256 has changed",
                remedy="restore a backup; or move it away and replay them again (`reviewlm data quarantine replay`)",
            )
    used = [path for path in files if _names_of(path) == reading.renamed]
    if left := len(files) - len(used):
        log.warning(
            "%d replays of %s are not used, because source.fields was another then: replay these records again",
            left, reading.facts["name"],
        )  # fmt: skip
    return used


def _names_of(path: Path) -> dict[str, str]:
    """Return the names of fields that a replay was read by."""
    with _readable(path):
        return dict(json.loads(pl.read_parquet_metadata(path)[NAMES]))


def _numbered(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.parquet") if path.stem.isascii() and path.stem.isdigit()]


def replay(
    sources: Sequence[Listed], readings: Mapping[str, SourceReading], replays: Path, limits: Limits,
    fixed: Path | None = None, paths: Mapping[str, Path] | None = None,
) -> dict[str, Any]:
    """Read the quarantined records of a data set again, and save those that are good now.

    Args:
        readings: Their readings, by `Listed.key` of the file. Fields have the names by which these were read.
        fixed: The file from `corpus.ingestion.quarantine.export`, with the field `raw` of some records corrected. None:
            read the records unchanged.
        paths: Paths of the source files, by key; some records can only be read together with their file.

    Returns:
        Facts: replayed, left (in quarantine), and the `reasons` of the records that failed again.

    Raises:
        EmptyInput: Nothing is in quarantine, or no record of it is good now.
        Unreadable: The fixed file does not have the format of `export` or names an unknown place; or the source file
            is needed and does not exist.
        StoreFull, NotWritable: The disk is full or not writable.
    """
    chosen = originals(sources)
    pending = {key: _pending(readings[key], replays_of(replays, readings[key])) for key in chosen}
    total = sum(frame.height for frame in pending.values())
    if not total:
        raise EmptyInput(
            "There is nothing to replay", where=", ".join(source.name for source in sources),
            cause="this data set has only repeated records in quarantine, or none",
        )
    mended = read_mended(fixed, pending.values()) if fixed else None
    good, reasons = {}, Counter[str]()
    for key, source in chosen.items():
        again = pending[key] if mended is None else mended.of(pending[key])
        path = (paths or {}).get(key)
        as_read = replace(limits, renamed=readings[key].renamed)
        rows, failed = read_again(again, source, path, as_read, mended is not None)
        good[key] = rows.with_columns(pl.col("source").str.strip_prefix(source.name))
        reasons.update(failed)
    replayed = sum(rows.height for rows in good.values())
    if not replayed:
        raise _all_in_vain(reasons, mended)
    for key, rows in good.items():
        if rows.height:
            _keep(replays / key, rows.sort(PLACE), readings[key].renamed)
    return {"replayed": replayed, "left": total - replayed, "reasons": dict(sorted(reasons.items()))}


def _pending(reading: SourceReading, replays: Sequence[Path]) -> pl.DataFrame:
    """Return the records of a source that are still in quarantine."""
    bad = pl.read_parquet(reading.quarantine).filter(~pl.col("reason").is_in(NOT_TO_CORRECT))
    return bad.join(_rows(reading, replays).select(PLACE), on=PLACE, how="anti", maintain_order="left")


def _rows(reading: SourceReading, replays: Sequence[Path]) -> pl.DataFrame:
    """Return the replayed rows, with the present name of the source; for repeated replays of a record, the latest."""
    frames = [pl.DataFrame(schema=COLUMNS), *map(_read_replay, replays)]
    rows = pl.concat(frames).unique(PLACE, keep="last", maintain_order=True)
    within = (pl.col("source") == "") | pl.col("source").str.starts_with(":")  # other ones are files of a pack
    name = pl.lit(reading.facts["name"])
    return rows.with_columns(source=pl.when(within).then(name + pl.col("source")).otherwise(pl.col("source")))


def _read_replay(path: Path) -> pl.DataFrame:
    with _readable(path):
        return pl.read_parquet(path).select(COLUMNS.keys()).cast(pl.Schema(COLUMNS))


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raise Damaged for a replay that is no Parquet file, or one of other columns."""
    try:
        yield
    except (OSError, ValueError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise Damaged(
            "Records that came back from quarantine cannot be read", where=path, cause=str(error).partition("\n")[0],
            remedy="delete the file and replay the quarantine again",
        ) from error


def _keep(folder: Path, rows: pl.DataFrame, renamed: Mapping[str, str]) -> None:
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            numbers = [int(path.stem) for path in _numbered(folder)]
            file = folder / f"{max(numbers, default=0) + 1}.parquet"
            content = parquet_bytes(rows, {NAMES: json.dumps(renamed, sort_keys=True)})
            write_whole(file.with_suffix(CHECKSUM), hashlib.sha256(content).hexdigest().encode())
            write_whole(file, content)


def _all_in_vain(reasons: Counter[str], mended: Mended | None) -> EmptyInput:
    causes = ", ".join(f"{count} × {reason}" for reason, count in reasons.most_common())
    remedy = "correct the field `raw` of these records" if mended else (
        "correct them in what `reviewlm data quarantine export` writes, or change the setting that keeps them out"
    )
    tried = f"{reasons.total()} records"
    return EmptyInput("None of the records can be used", value=tried, cause=causes, remedy=remedy)


def assemble_with(
    folder: Path, sources: Sequence[Listed], readings: Mapping[str, SourceReading],
    replays: Mapping[str, Sequence[Path]],
) -> dict[str, Any]:
    """Build a data set like `corpus.ingestion.build_dataset.assemble`, including the replayed records.

    Args:
        folder: Output folder.
        sources: All source files, in order.
        readings: The readings, by `Listed.key` of the file.
        replays: Their replays, the oldest first, by SHA-256 of the file.

    Raises:
        EmptyInput: No record is good.
    """
    work = folder / WORK
    shutil.rmtree(work, ignore_errors=True)
    put = {key: put_back(readings[key], replays.get(key, ()), work / key) for key in readings}
    facts = assemble(folder, sources, put)
    shutil.rmtree(work, ignore_errors=True)
    return {**facts, "replayed": sum(reading.facts.get("replayed", 0) for reading in put.values())}


def put_back(reading: SourceReading, replays: Sequence[Path], folder: Path) -> SourceReading:
    """Write to *folder* the reading as if the replayed records had been good from the start, and return it.

    Replayed rows whose record is not in the quarantine of the reading are left out: that record is good by now.
    """
    if not replays:
        return reading
    reasons = pl.scan_parquet(reading.quarantine).select(*PLACE, "reason").collect()
    rows = _rows(reading, replays).join(reasons, on=PLACE, how="inner", maintain_order="left")
    if rows.is_empty():
        return reading
    (folder / PARTS).mkdir(parents=True)
    parts = _merge(reading, rows.select(COLUMNS.keys()), folder / PARTS)
    with QuarantineWriter(folder / QUARANTINE_FILE) as quarantine:
        for bad in iter_quarantine(reading.quarantine):
            quarantine.add(bad.join(rows.select(PLACE), on=PLACE, how="anti", maintain_order="left"))
    left = Counter(reading.facts["reasons"])
    left.subtract(rows["reason"].to_list())
    facts = {
        **reading.facts, "rows": spread(parts)["rows"], "quarantined": left.total(), "replayed": rows.height,
        "reasons": {reason: count for reason, count in sorted(left.items()) if count}, "parts": parts,
    }
    write_whole(folder / READING_FILE, orjson.dumps(facts, option=orjson.OPT_INDENT_2))
    return SourceReading(folder)


def _merge(reading: SourceReading, rows: pl.DataFrame, folder: Path) -> list[dict[str, Any]]:
    """Write the parts with the rows inserted by line; rows that come after all parts become a separate part."""
    parts: list[dict[str, Any]] = []
    for path, part in zip(reading.paths, reading.facts["parts"], strict=True):
        new = folder / f"{part_name(len(parts))}.parquet"
        last = pl.scan_parquet(path).group_by("source").agg(pl.col("line").max().alias("last")).collect()
        here = rows.join(last, on="source").filter(pl.col("line") <= pl.col("last")).select(COLUMNS.keys())
        if here.is_empty():
            link_whole(path, new)
            parts.append(part)
            continue
        rows = rows.join(here.select(PLACE), on=PLACE, how="anti", maintain_order="left")
        merged = _in_order(pl.concat([pl.read_parquet(path), here]))
        write_whole(new, parquet_bytes(merged))
        parts.append(describe(merged, added([part["content"]]) + content_of(here)))
    if rows.height:
        rows = rows.sort(PLACE)
        write_whole(folder / f"{part_name(len(parts))}.parquet", parquet_bytes(rows))
        parts.append(describe(rows))
    return parts


def _in_order(frame: pl.DataFrame) -> pl.DataFrame:
    """Sort by line within each member of the source; the members keep their order."""
    members = frame["source"].unique(maintain_order=True)
    order = pl.DataFrame({"source": members, "member": range(len(members))})
    joined = frame.join(order, on="source", how="left", maintain_order="left")
    return joined.sort("member", "line", maintain_order=True).drop("member")
