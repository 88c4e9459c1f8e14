"""Looking at what ingestion set aside: a summary by reason, and the records themselves for a person to correct."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from corpus.parts import QUARANTINE_FILE, iter_quarantine
from corpus.schema import Reason
from reviewlm.errors import EmptyInput, disk_errors

SHOWN = 80
"""Characters of an example's raw bytes that are shown."""


def newest_quarantine(store: Path) -> Path:
    """Return the quarantine of the ingestion that was finished last.

    Args:
        store: The folder of all artifacts.

    Raises:
        EmptyInput: Nothing has been ingested yet.
    """
    found = sorted(store.glob(f"ingest/*/{QUARANTINE_FILE}"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise EmptyInput("Nothing has been ingested yet", where=store, remedy="run `reviewlm ingest` first")
    return found[-1]


def summarise(path: Path) -> list[dict[str, Any]]:
    """Return a row per reason, the commonest first: its records, and source, line, detail and bytes of the first."""
    first = [pl.col(name).first() for name in ("source", "line", "detail", "raw")]
    rows = pl.scan_parquet(path).group_by("reason", maintain_order=True).agg(pl.len().alias("records"), *first)
    ordered = rows.sort("records", "reason", descending=[True, False]).collect()
    return [{**row, "raw": _shown(row["raw"])} for row in ordered.iter_rows(named=True)]


def _shown(raw: bytes) -> str:
    text = " ".join(raw.decode("utf-8", "replace").split())
    return text if len(text) <= SHOWN else text[: SHOWN - 2] + " …"


def export(path: Path, out: Path, reason: str | None = None) -> dict[str, Any]:
    """Write quarantined records as JSON lines: source, line, reason, detail and raw.

    A person corrects `raw` and gives the file back to `corpus.replay`. Bytes that are not UTF-8 appear as lone
    surrogates (`\\udce9` for E9), Python's "surrogateescape", so that nothing is lost on the way.

    Args:
        path: A quarantine.
        out: The file to write; it appears when it is whole.
        reason: Only records with this reason; none: all but repeated ids, which no correction brings back.

    Returns:
        records and out.

    Raises:
        EmptyInput: There are no such records.
        StoreFull, NotWritable: The disk.
    """
    temporary = out.with_name(out.name + ".tmp")
    records = 0
    with disk_errors(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            for bad in iter_quarantine(path):
                wanted = pl.col("reason") == reason if reason else pl.col("reason") != Reason.DUPLICATE_ID.value
                for record in bad.filter(wanted).iter_rows(named=True):
                    file.write(_as_json(record) + b"\n")
                    records += 1
        if not records:
            temporary.unlink()
            raise _nothing_to_export(path, reason)
        temporary.replace(out)
    return {"records": records, "out": str(out)}


def _as_json(record: dict[str, Any]) -> bytes:
    values = {**record, "raw": record["raw"].decode("utf-8", "surrogateescape")}
    try:
        return json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(values).encode()


def _nothing_to_export(path: Path, reason: str | None) -> EmptyInput:
    found = {row["reason"]: row["records"] for row in summarise(path)}
    there = ", ".join(f"{name} ({count})" for name, count in found.items()) or "it is empty"
    what = f"with the reason {reason!r}" if reason else "that could be corrected"
    return EmptyInput(f"The quarantine holds no record {what}", where=path, value=there)
