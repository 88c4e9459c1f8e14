"""Write a learning-rate range test and a comparison of optimisers as tables, JSON and pictures into a folder."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from matplotlib.figure import Figure

from core.output import write_output
from evaluation.plots.curves import save
from evaluation.plots.optimizers import courses, final_by_rate, range_test
from evaluation.reports.spreadsheet import csv_text

if TYPE_CHECKING:
    from models.neural.optimization.comparison import OptimizerComparison
    from models.neural.optimization.rate_finder import RateSweep

RATES_FILE, TABLE_FILE, COMPARISON_FILE = "lr_find.json", "optimizers.csv", "optimizers.json"
PICTURES = ("optimizers", "optimizers_by_rate")


def rates_as_json(sweep: RateSweep) -> dict[str, Any]:
    """Return a range test as JSON values, with the suggestion; losses that are not nats get another name."""
    values = {"suggestion": sweep.suggestion, **asdict(sweep)}
    if not values.pop("in_nats"):
        values["estimator_loss"] = values.pop("nats")
    return values


def write_rates(sweep: RateSweep, folder: Path, name: str, used: float | None = None) -> list[Path]:
    """Write a range test as JSON and as a picture into a folder; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = write_output(folder / RATES_FILE, _as_text({"model": name, **rates_as_json(sweep)}))
    return [numbers, *_draw(folder, {"lr_find": range_test(sweep, name, used)})]


def optimizer_table(found: OptimizerComparison) -> list[dict[str, Any]]:
    """Return one row per rule, best first: best rate, final loss, updates, seconds, and all rates tried."""
    return [
        {
            "optimizer": best.optimizer,
            "rate": _number(best.rate),
            "validation nats": _number(best.final),
            "perplexity": _number(math.exp(min(best.final, 700.0))) if math.isfinite(best.final) else None,
            "updates": best.updates,
            "seconds": round(best.seconds, 1),
            "set back": best.divergences,
            "rates tried": ", ".join(
                f"{t.rate:g}" for t in found.trials if t.optimizer == best.optimizer and math.isfinite(t.rate)
            ),
        }
        for best in found.best
    ]


def comparison_as_json(found: OptimizerComparison) -> dict[str, Any]:
    """Return a comparison as JSON values; null for a diverged or failed trial, and for a rate that was not found."""
    sizes = {"train_tokens": found.train_tokens, "validation_tokens": found.validation_tokens, "epochs": found.epochs}
    trials = [{**asdict(trial), "rate": _number(trial.rate), "final": _number(trial.final)} for trial in found.trials]
    return {**sizes, "best": optimizer_table(found), "trials": trials}


def comparison_figures(found: OptimizerComparison) -> dict[str, Figure]:
    """Return the pictures of a comparison by file name; the one by rate only if a rule had several rates."""
    by_rule, by_rate = PICTURES
    drawn = {by_rule: courses(found)}
    if len(found.trials) > len(found.best):
        drawn[by_rate] = final_by_rate(found)
    return drawn


def write_trials(found: OptimizerComparison, folder: Path) -> list[Path]:
    """Write a comparison, also an unfinished one, as table (CSV) and JSON into a folder; return the files.

    Pictures of an earlier comparison in the folder are removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in PICTURES:
        (folder / f"{name}.png").unlink(missing_ok=True)
    table = csv_text(pl.DataFrame(optimizer_table(found), infer_schema_length=None))
    everything = _as_text(comparison_as_json(found))
    return [write_output(folder / TABLE_FILE, table), write_output(folder / COMPARISON_FILE, everything)]


def write_comparison(found: OptimizerComparison, folder: Path) -> list[Path]:
    """Write a comparison as table (CSV), JSON and pictures into a folder; return the files."""
    return [*write_trials(found, folder), *_draw(folder, comparison_figures(found))]


def _as_text(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=1, allow_nan=False) + "\n"


def _draw(folder: Path, figures: Mapping[str, Figure]) -> list[Path]:
    files = []
    for stem, figure in figures.items():
        files.append(folder / f"{stem}.png")
        save(figure, files[-1])
    return files


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
