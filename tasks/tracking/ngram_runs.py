"""Log a comparison of n-gram models to MLflow: a parent run with tables and plots, a child run for each model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from core.config.run_config import RunConfig
from core.provenance import git_commit
from evaluation.plots.ngram import all_figures
from evaluation.reports.ngram_report import amount_table, as_json, curve_table, method_table
from models.ngram.comparison import Row
from models.ngram.lines.text_comparison import Pruned, TextComparison
from tasks.tracking.track import tracker_of
from tracking.runs.runs import Tracker, run_tags
from tracking.tags import KIND

NAME = "ngram compare"


def track(config: RunConfig, found: TextComparison, settings: Mapping[str, Any]) -> str:
    """Write the comparison to MLflow and return the id of its parent run.

    Each estimator gets a child run with its discounts and other parameters, counts of counts, n-grams per order, size,
    speed and perplexity. An infinite perplexity is shown as the largest number, next to the number of events with
    probability zero.
    """
    import polars as pl

    tracker = tracker_of(config)
    parent = tracker.start_run(NAME, {**run_tags(git_commit=git_commit()), KIND: "ngram"})
    tracker.log_params(parent, settings)
    train, choose, measure = found.tokens
    sizes = {"tokens/train": train, "tokens/choose": choose, "tokens/measure": measure, "oov": found.oov}
    tracker.log_metrics(parent, {**sizes, "words": found.words})
    for row in found.rows:
        _model_run(tracker, parent, row)
    for point in found.curve:
        _pruned_run(tracker, parent, point, settings)
    tables = {"methods": method_table(found.methods), "amounts": amount_table(found.amounts)}
    for name, table in (tables | {"pruning": curve_table(found.curve)}).items():
        if table:
            tracker.log_table(parent, pl.DataFrame(table, infer_schema_length=None), f"{name}.json")
    for name, figure in all_figures(found).items():
        tracker.log_figure(parent, figure, f"plots/ngram_{name}.png")
    tracker.log_text(parent, json.dumps(as_json(found)), "comparison.json")
    tracker.end_run(parent)
    return parent


def _model_run(tracker: Tracker, parent: str, row: Row) -> None:
    share = "" if row.every == 1 else f" 1/{row.every}"
    run = tracker.start_run(f"{row.method} {row.order}{share}", {KIND: "ngram"}, parent)
    tracker.log_params(run, {"smoothing": row.method, "order": row.order, "every": row.every})
    measured = {
        "tokens": row.tokens, "ngrams": row.ngrams, "bytes": row.bytes, "seconds": row.seconds,
        "tokens_per_second": row.tokens / max(row.seconds, 1e-9), "unseen_share": row.unseen_share,
        f"{row.measured_on}/perplexity": row.perplexity,
        f"{row.measured_on}/zero_probability_events": row.zero_probability_events,
    }
    numbers = {name: value for name, value in measured.items() if value is not None}
    tracker.log_metrics(run, {**numbers, **row.figures})
    tracker.end_run(run)


def _pruned_run(tracker: Tracker, parent: str, point: Pruned, settings: Mapping[str, Any]) -> None:
    run = tracker.start_run(f"pruned {point.pruning} {point.threshold:g}", {KIND: "ngram"}, parent)
    tracker.log_params(run, {"pruning": point.pruning, "threshold": point.threshold, "order": max(settings["orders"])})
    tracker.log_metrics(run, {"ngrams": point.ngrams, "bytes": point.bytes, "test/perplexity": point.perplexity})
    tracker.end_run(run)
