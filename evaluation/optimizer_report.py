"""A range test and a comparison of optimisers as tables, JSON and pictures in a folder."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from matplotlib.figure import Figure

from evaluation.figures import save
from evaluation.optimizer_figures import courses, final_by_rate, range_test

if TYPE_CHECKING:
    from models.neural.optimizer_comparison import OptimizerComparison
    from models.neural.rate_finder import RateSweep

RATES_FILE, COMPARISON_FILE = "lr_find.json", "optimizers.json"


def rates_as_json(sweep: RateSweep) -> dict[str, Any]:
    """Return a range test as JSON values, the suggestion among them."""
    return {"suggestion": sweep.suggestion, **asdict(sweep)}


def write_rates(sweep: RateSweep, folder: Path, name: str, used: float | None = None) -> list[Path]:
    """Write a range test as JSON and as a picture into a folder; return the files."""
    return _write(
        folder, RATES_FILE, {"model": name, **rates_as_json(sweep)}, {"lr_find": range_test(sweep, name, used)}
    )


def optimizer_table(found: OptimizerComparison) -> list[dict[str, Any]]:
    """Return one row per rule, best first: its best rate, what it reached, steps, seconds, and all rates tried."""
    return [
        {
            "optimizer": best.optimizer,
            "rate": best.rate,
            "validation nats": _number(best.final),
            "perplexity": _number(math.exp(min(best.final, 700.0))) if math.isfinite(best.final) else None,
            "updates": best.updates,
            "seconds": round(best.seconds, 1),
            "set back": best.divergences,
            "rates tried": ", ".join(f"{t.rate:g}" for t in found.trials if t.optimizer == best.optimizer),
        }
        for best in found.best
    ]


def comparison_as_json(found: OptimizerComparison) -> dict[str, Any]:
    """Return a comparison as JSON values; null where a trial diverged."""
    sizes = {"train_tokens": found.train_tokens, "validation_tokens": found.validation_tokens, "epochs": found.epochs}
    trials = [{**asdict(trial), "final": _number(trial.final)} for trial in found.trials]
    return {**sizes, "best": optimizer_table(found), "trials": trials}


def comparison_figures(found: OptimizerComparison) -> dict[str, Figure]:
    """Return the pictures of a comparison by the names of their files; by rate only where a rule had several."""
    drawn = {"optimizers": courses(found)}
    if len(found.trials) > len(found.best):
        drawn["optimizers_by_rate"] = final_by_rate(found)
    return drawn


def write_comparison(found: OptimizerComparison, folder: Path) -> list[Path]:
    """Write a comparison as table (CSV), JSON and pictures into a folder; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "optimizers.csv"
    table.write_text(pl.DataFrame(optimizer_table(found), infer_schema_length=None).write_csv(), encoding="utf-8")
    return [table, *_write(folder, COMPARISON_FILE, comparison_as_json(found), comparison_figures(found))]


def _write(folder: Path, name: str, values: Mapping[str, Any], figures: Mapping[str, Figure]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / name]
    files[0].write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    for stem, figure in figures.items():
        files.append(folder / f"{stem}.png")
        save(figure, files[-1])
    return files


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
