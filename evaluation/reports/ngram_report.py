"""Write a comparison of n-gram models as CSV tables, JSON and pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

import polars as pl

from core.output import write_output
from evaluation.plots.curves import save
from evaluation.plots.ngram import all_figures
from evaluation.reports.spreadsheet import csv_text
from models.ngram.comparison import Row
from models.ngram.lines.text_comparison import Pruned, TextComparison

FILE = "comparison.json"


def method_table(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return one row per method: its perplexity at every order (infinity is kept, None for scores).

    Further columns for the highest order: the number of tokens with probability 0 and the seconds that the method took.
    """
    orders = sorted({row.order for row in rows})
    table = []
    for method in dict.fromkeys(row.method for row in rows):
        own = {row.order: row for row in rows if row.method == method}
        top = own.get(orders[-1])
        perplexities = {f"order {order}": own[order].perplexity if order in own else None for order in orders}
        table.append({
            "method": method, **perplexities,
            f"probability 0, order {orders[-1]}": top and top.zero_probability_events,
            f"seconds, order {orders[-1]}": top and top.seconds,
        })  # fmt: skip
    return table


def amount_table(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return one row per amount of training text: tokens, perplexity at every order, share of unseen n-grams."""
    orders = sorted({row.order for row in rows})
    return [
        {
            "text": "all" if every == 1 else f"1/{every}",
            "tokens": next(row.tokens for row in rows if row.every == every),
            **{f"order {row.order}": row.perplexity for row in rows if row.every == every},
            f"unseen, order {orders[-1]}": next(
                row.unseen_share for row in rows if row.every == every and row.order == orders[-1]
            ),
        }
        for every in sorted({row.every for row in rows}, reverse=True)
    ]


def curve_table(curve: Sequence[Pruned]) -> list[dict[str, Any]]:
    """Return one row per pruned model."""
    return [
        {"pruned by": point.pruning, "threshold": float(point.threshold), "n-grams": point.ngrams,
         "MiB": point.bytes / 2**20, "perplexity": point.perplexity} for point in curve
    ]  # fmt: skip


def as_json(found: TextComparison) -> dict[str, Any]:
    """Return the whole comparison as JSON values; null if there is no (finite) number."""
    return {
        "words": found.words, "oov": found.oov, "best": found.best,
        "tokens": dict(zip(("train", "choose", "measure"), found.tokens, strict=True)),
        "methods": [_plain(asdict(row)) for row in found.methods],
        "amounts": [_plain({**asdict(row), "figures": {}}) for row in found.amounts],
        "pruning": [_plain(asdict(point)) for point in found.curve],
        "unseen_share": {f"1/{every}": shares for every, shares in found.unseen.items()},
    }  # fmt: skip


def write(found: TextComparison, folder: Path) -> list[Path]:
    """Write tables (CSV), the whole comparison as JSON, and the pictures; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "models": [_flat(row) for row in found.rows],
        "pruning": [asdict(point) for point in found.curve],
        "unseen": [{"every": every, "order": k, "unseen_share": share} for every, shares in found.unseen.items()
                   for k, share in shares.items()],
    }  # fmt: skip
    files = []
    for name, rows in tables.items():
        if rows:
            files.append(folder / f"{name}.csv")
            # Not by polars: its errors for a full disk have no errno.
            write_output(files[-1], csv_text(pl.DataFrame(rows, infer_schema_length=None)))
    files.append(folder / FILE)
    write_output(files[-1], json.dumps(as_json(found), indent=1, allow_nan=False) + "\n")
    for name, figure in all_figures(found).items():
        files.append(folder / f"ngram_{name}.png")
        save(figure, files[-1])
    return files


def _flat(row: Row) -> dict[str, Any]:
    return {name: value for name, value in asdict(row).items() if name != "figures"}


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _plain(value) if isinstance(value, dict)
        else None if isinstance(value, float) and not isfinite(value) else value
        for name, value in values.items()
    }  # fmt: skip
