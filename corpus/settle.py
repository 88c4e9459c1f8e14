"""The last step of an ingestion: repeated ids, the quarantine, and the facts about the whole.

It reads `raw/` and never changes it, so it can be killed and repeated; `raw/` goes when the facts are written.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl

from corpus.convert import DERIVED_ID
from corpus.parts import finished_parts, parquet_bytes, part_name, write_whole
from corpus.schema import COLUMNS, FIELDS, QUARANTINE, Reason
from reviewlm.errors import EmptyInput

FACTS = "ingest.json"
QUARANTINE_FILE = "quarantine.parquet"
IS_DERIVED = rf"^{DERIVED_ID}[0-9a-f]{{28}}$"


def settle(folder: Path, raw: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Write `parts/`, `quarantine.parquet` and the facts from what stands in *raw*.

    Raises:
        EmptyInput: No record, or none that is good; names the commonest reason and where it was met first.
    """
    names = [part_name(number) for number in range(finished_parts(raw))]
    counts = [json.loads((raw / f"{name}.json").read_text()) for name in names]
    losers, renamed = _repeated(raw, names)
    (folder / "parts").mkdir(exist_ok=True)
    fingerprint, reasons, start = _Fingerprint(), Counter[str](), 0
    with _Quarantine(folder / QUARANTINE_FILE) as quarantine:
        for name, count in zip(names, counts, strict=True):
            bad = pl.read_parquet(raw / f"{name}.bad.parquet")
            reasons.update(bad["reason"].to_list())
            quarantine.add(bad)
            rows = pl.int_range(start, start + count["good"], dtype=pl.Int64)
            frame = pl.read_parquet(raw / f"{name}.parquet").with_columns(row=rows)
            kept, dropped = _split_off(frame, losers, renamed)
            quarantine.add(_as_quarantine(dropped))
            if count["good"]:
                _put_part(kept, raw / f"{name}.parquet", folder / "parts" / f"{name}.parquet", kept is frame)
            fingerprint.add(kept)
            start += count["good"]
    facts = _facts(request, fingerprint, reasons, duplicates=losers.len(), parts=sum(1 for c in counts if c["good"]))
    if not facts["rows"]:
        raise _nothing_left(folder, facts)
    write_whole(folder / FACTS, orjson.dumps({"request": request, "facts": facts}, option=orjson.OPT_INDENT_2))
    shutil.rmtree(raw)
    return facts


def _repeated(raw: Path, names: list[str]) -> tuple[pl.Series, pl.DataFrame]:
    """Find repeated ids over all parts.

    Returns:
        Numbers of the rows that give way to a newer one, and a table (row, review_id) of new names for derived ids:
        records without an id of their own are never duplicates, their n-th occurrence gets the ending `-n`.
    """
    scans = [pl.scan_parquet(raw / f"{name}.parquet").select("review_id", "date") for name in names]
    rows = pl.concat(scans).with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    again = rows.select("review_id").filter(pl.col("review_id").is_duplicated()).unique()
    repeated = rows.join(again, on="review_id", how="semi").collect().sort("row")
    own = repeated.filter(~pl.col("review_id").str.contains(IS_DERIVED))
    newest = own.sort("date", "row", nulls_last=False).group_by("review_id").agg(pl.col("row").last())
    losers = own.join(newest, on="row", how="anti")["row"]
    derived = repeated.filter(pl.col("review_id").str.contains(IS_DERIVED))
    occurrence = pl.col("row").cum_count().over("review_id")
    renamed = derived.with_columns(occurrence=occurrence).filter(pl.col("occurrence") > 1).select(
        "row", new=pl.format("{}-{}", "review_id", "occurrence")
    )
    return losers, renamed


def _split_off(frame: pl.DataFrame, losers: pl.Series, renamed: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return what stays, under its new names, and what goes; a part that does not change is returned as it is."""
    losing = frame["row"].is_in(losers.implode())
    changing = frame["row"].is_in(renamed["row"].implode())
    if not losing.any() and not changing.any():
        return frame, frame.clear()
    kept, dropped = frame.filter(~losing), frame.filter(losing)
    joined = kept.join(renamed, on="row", how="left", maintain_order="left")
    return joined.with_columns(review_id=pl.coalesce("new", "review_id")).drop("new"), dropped


def _put_part(kept: pl.DataFrame, raw: Path, final: Path, unchanged: bool) -> None:
    """Link an unchanged part instead of writing it again."""
    if unchanged:
        try:
            final.unlink(missing_ok=True)
            os.link(raw, final)
            return
        except OSError:
            pass  # the file system has no links
    write_whole(final, parquet_bytes(kept.drop("row")))


def _as_quarantine(dropped: pl.DataFrame) -> pl.DataFrame:
    rows = dropped.select(list(COLUMNS)).iter_rows(named=True)
    raws = [orjson.dumps(row) for row in rows]
    return pl.DataFrame(
        {
            "source": dropped["source"],
            "line": dropped["line"],
            "reason": [Reason.DUPLICATE_ID.value] * len(raws),
            "detail": [f"another record with the review_id {name!r} is newer" for name in dropped["review_id"]],
            "raw": raws,
        },
        schema=QUARANTINE,
    )


class _Quarantine:
    """Writes the quarantine part by part, so that it may be larger than the memory."""

    def __init__(self, path: Path) -> None:
        import pyarrow
        from pyarrow import parquet

        self.path, self.temporary = path, path.with_name(path.name + ".tmp")
        empty = pl.DataFrame(schema=QUARANTINE).to_arrow(compat_level=pl.CompatLevel.oldest())
        self.file = self.temporary.open("wb")
        self.schema: pyarrow.Schema = empty.schema
        self.writer = parquet.ParquetWriter(self.file, self.schema, compression="zstd")

    def __enter__(self) -> _Quarantine:
        return self

    def add(self, bad: pl.DataFrame) -> None:
        """Append records."""
        if bad.height:
            self.writer.write_table(bad.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(self.schema))

    def __exit__(self, kind: object, *rest: object) -> None:
        self.writer.close()
        self.file.close()
        if kind is None:
            self.temporary.replace(self.path)


class _Fingerprint:
    """SHA-256 of the rows in order, and their counts; how the rows are cut into frames makes no difference.

    Each column feeds three digests: which values are null, the lengths of the strings, and the values.
    """

    def __init__(self) -> None:
        self.digests = {name: [hashlib.sha256() for _ in range(3)] for name in FIELDS}
        self.rows = self.text_bytes = 0
        self.dates: list[Any] = []

    def add(self, frame: pl.DataFrame) -> None:
        """Take the next rows."""
        self.rows += frame.height
        self.text_bytes += int(frame["text"].str.len_bytes().sum())
        self.dates += [date for date in (frame["date"].min(), frame["date"].max()) if date is not None]
        for name, (nulls, lengths, values) in self.digests.items():
            column = frame[name]
            nulls.update(column.is_null().to_numpy().tobytes())
            if column.dtype == pl.String:
                filled = column.fill_null("")
                lengths.update(filled.str.len_bytes().to_numpy().astype(np.uint32).tobytes())
                values.update(str(filled.str.join("").item()).encode())
            else:
                values.update(column.to_physical().fill_null(0).to_numpy().tobytes())

    def hexdigest(self) -> str:
        """Return the digest of all columns."""
        total = hashlib.sha256()
        for name, parts in self.digests.items():
            total.update(name.encode() + b"".join(part.digest() for part in parts))
        return total.hexdigest()


def _facts(
    request: dict[str, Any], fingerprint: _Fingerprint, reasons: Counter[str], duplicates: int, parts: int
) -> dict[str, Any]:
    dates = fingerprint.dates
    quarantined = sum(reasons.values())
    return {
        "records": fingerprint.rows + quarantined + duplicates,
        "rows": fingerprint.rows,
        "quarantined": quarantined,
        "duplicates": duplicates,
        "reasons": dict(sorted(reasons.items())),
        "parts": parts,
        "bytes": fingerprint.text_bytes,
        "input_bytes": sum(file["bytes"] for file in request["files"]),
        "date_min": min(dates).isoformat() if dates else None,
        "date_max": max(dates).isoformat() if dates else None,
        "content_sha256": fingerprint.hexdigest(),
        "sources": [{"name": file["name"], "bytes": file["bytes"]} for file in request["files"]],
    }


def _nothing_left(folder: Path, facts: dict[str, Any]) -> EmptyInput:
    names = ", ".join(source["name"] for source in facts["sources"])
    if not facts["records"]:
        return EmptyInput("The input holds no records", where=names, remedy="check that these are the files you mean")
    common, count = max(facts["reasons"].items(), key=lambda item: item[1])
    example = next(_examples(folder / QUARANTINE_FILE, common))
    return EmptyInput(
        f"None of the {facts['records']} records can be used", where=f"{example['source']}, line {example['line']}",
        value=example["raw"][:200], cause=f"{count} of them: {common} ({example['detail']})",
        remedy=f"correct the input; all records with their reasons stand in {folder / QUARANTINE_FILE}",
    )


def _examples(path: Path, reason: str) -> Iterator[dict[str, Any]]:
    yield from pl.scan_parquet(path).filter(pl.col("reason") == reason).head(1).collect().iter_rows(named=True)
