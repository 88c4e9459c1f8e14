"""Log the measurements of a command on models as one MLflow run: figures, tables and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import polars as pl

from core.config.run_config import RunConfig
from core.provenance import git_commit
from tasks.tracking.track import tracker_of
from tracking.runs.runs import run_tags
from tracking.tags import KIND

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def track(
    config: RunConfig, name: str, settings: Mapping[str, Any], metrics: Mapping[str, float],
    tables: Mapping[str, Sequence[Mapping[str, Any]]], figures: Mapping[str, Figure],
) -> str:
    """Write a finished run to MLflow and return its id.

    Args:
        settings: Settings of the verb, logged as parameters.
        metrics: Figures by name; infinite ones are not logged as metrics, only in the tables.
        tables: Rows by file name.
        figures: Plots by file name.
    """
    tracker = tracker_of(config)
    run = tracker.start_run(name, {**run_tags(git_commit=git_commit()), KIND: "memory"})
    tracker.log_params(run, settings)
    tracker.log_metrics(run, {key: value for key, value in metrics.items() if isfinite(value)})
    for file, rows in tables.items():
        tracker.log_table(run, pl.DataFrame(rows, infer_schema_length=None, strict=False), f"{file}.json")
    for file, figure in figures.items():
        tracker.log_figure(run, figure, f"plots/{file}.png")
    tracker.end_run(run)
    return run
