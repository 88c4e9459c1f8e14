"""Write one page for all runs of a home: a list to filter and sort, and two runs beside each other.

The page is one file without a server or network. Without scripts the list and its links remain; sorting, the filter and
the comparison are done by `templates/all_runs.js`, from the records in the page (`evaluation/reports/run_record.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from core.errors import visible
from core.output import write_output
from evaluation.reports.document import rendered
from evaluation.reports.report_words import BITS, amount
from evaluation.reports.run_record import FIGURES, OWN, REPORT_FILE, read_records, winner_of

ALL_RUNS_FILE = "index.html"
COLUMNS = (
    "started", "preset", "winner", "open bits/byte", "vs baseline", "perplexity", "test reviews", "outcome", "took",
)  # fmt: skip
NUMBERS = ("open bits/byte", "vs baseline", "perplexity", "test reviews")
"""Columns of the list, and those that are sorted as numbers."""
LEFT_OUT = ("digests", "format", "bundle")
"""Parts of a record that the page does not show."""


def write_all_runs(reports: Path) -> tuple[Path, int]:
    """Write the page into the folder of the reports; return its path and the number of runs.

    Raises:
        StoreFull, NotWritable: The disk is full, or the folder cannot be written.
    """
    records = read_records(reports)
    return write_output(reports / ALL_RUNS_FILE, all_runs_page(records)), len(records)


def all_runs_page(records: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page; *records* are those of `read_records`, by the folder of the report, the newest first."""
    folders = {name: quote(name, safe="") for name in records}
    rows = [{"address": f"{folders[name]}/{REPORT_FILE}", "cells": _cells(name, one)} for name, one in records.items()]
    data = [_shown({key: value for key, value in one.items() if key not in LEFT_OUT}) for one in records.values()]
    return rendered("all_runs.html", columns=COLUMNS, numbers=NUMBERS, rows=rows,
                    data={"runs": data, "figures": FIGURES, "ignored": OWN})  # fmt: skip


def _cells(name: str, record: Mapping[str, Any]) -> list[tuple[str, float | None]]:
    """Return the text of each column and the number to sort by; a run without a record has only its name."""
    if not record:
        placeholder = {"started": name, "outcome": "its record cannot be read"}
        return [(placeholder.get(column, "–"), None) for column in COLUMNS]
    run, winner = record["run"], winner_of(record)
    gain = winner.get("gain")
    return [
        (run.get("started", name), None), (run.get("preset", "–"), None), (record["winner"], None),
        (amount(winner[BITS]), winner[BITS]),
        ("–", None) if gain is None else (f"{-gain:+.1%}", -gain),
        (amount(winner["perplexity"]), winner["perplexity"]), (f"{winner['reviews']:,}", winner["reviews"]),
        (record["outcome"], None), (run.get("took", "–"), None),
    ]  # fmt: skip


def _shown(value: Any) -> Any:
    """Return JSON values with direction and control characters made visible, as on every page."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible(key): _shown(one) for key, one in value.items()}
    return [_shown(one) for one in value] if isinstance(value, list) else value
