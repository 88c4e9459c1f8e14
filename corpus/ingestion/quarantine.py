"""Show the records in quarantine by reason, and export them to be corrected."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl

from reviewlm.core.errors import ConfigError
from reviewlm.core.output import output_file
from reviewlm.corpus.ingestion.parts import iter_quarantine
from reviewlm.corpus.schema import NOT_TO_CORRECT, Reason

SHOWN_CHARACTERS = 80
"""Number of characters shown of an example's raw bytes."""


def summarise(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Return a row per reason, the most common first: its records, and source, line, detail and bytes of the first."""
    first = [pl.col(name).first() for name in ("source", "line", "detail", "raw")]
    rows = (
        pl.scan_parquet(list(paths))
        .group_by("reason", maintain_order=True)
        .agg(pl.len().alias("records"), *first)
    )
    ordered = rows.sort("records", "reason", descending=[True, False]).collect()
    return [{**row, "raw": _excerpt(row["raw"])} for row in ordered.iter_rows(named=True)]


def _excerpt(raw: bytes) -> str:
    text = " ".join(raw.decode("utf-8", "replace").split())
    if len(text) <= SHOWN_CHARACTERS:
        return text
    return text[: SHOWN_CHARACTERS - 2] + " …"


def export(
    paths: Sequence[Path],
    out: Path,
    reason: str | None = None,
) -> dict[str, Any]:
    """Write quarantined records as JSON lines that can be corrected and then read like any other file.

    A record that is a JSON object keeps its fields; of any other, `raw` is its text, and its fields are to be written
    beside it. `quarantined` says where it stood and why it was set aside. Readers ignore both, so a record that is not
    corrected is set aside again. Bytes that are not UTF-8 appear as lone surrogates (`\\udce9` for E9), as in Python's
    "surrogateescape", so that no byte is lost.

    Args:
        paths: The quarantine files.
        out: The file to write; it appears when it is complete.
        reason: Only records with this reason. None: all that can be corrected, so no repeated ids and no files.

    Returns:
        records and out; without such records the file is empty.

    Raises:
        ConfigError: There is no such reason.
    """
    if reason not in (None, *Reason):
        known = ", ".join(Reason)
        raise ConfigError(
            "There is no such reason",
            where="--reason",
            value=reason,
            remedy=f"one of {known}",
        )

    records = 0
    with output_file(out) as file:
        for bad in chain.from_iterable(map(iter_quarantine, paths)):
            if reason:
                chosen = pl.col("reason") == reason
            else:
                chosen = ~pl.col("reason").is_in(NOT_TO_CORRECT)

            for record in bad.filter(chosen).iter_rows(named=True):
                file.write(json.dumps(_to_correct(**record)).encode() + b"\n")
                records += 1

    return {"records": records, "out": str(out)}


def _to_correct(
    source: str,
    line: int,
    reason: str,
    detail: str,
    raw: bytes,
) -> dict[str, Any]:
    text = raw.decode("utf-8", "surrogateescape")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        fields = {"raw": text.rstrip("\r\n")}

    return {**fields, "quarantined": f"{source}, line {line}: {reason} ({detail})"}
