"""Looking at what ingestion set aside: how many records for which reason, with an example of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from corpus.settle import QUARANTINE_FILE
from reviewlm.errors import EmptyInput

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
