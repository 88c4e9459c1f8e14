"""Compare the models of a run and log the result: table, intervals, differences, slices, Data Docs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from core.config.run_config import RunConfig
from core.output import literal, quoted
from core.store import Artifact
from models.base import STATIC
from tasks.data.prepare import Prepared, read_report
from tasks.evaluation.cost import COSTS
from tasks.evaluation.evaluate import Measured
from tasks.evaluation.intervals import ModelComparison, compare
from tasks.measuring.observed import SAMPLES_FILE
from tasks.stage import show_markdown, show_table, stage
from tasks.track import tracker_of
from tracking.runs.runs import Tracker
from tracking.tags import BELOW_TAG, CHECKS, COMPARED_TAG

TABLE_COLUMNS = (
    "model", "kind", "adaptation", "baseline", "unit", "perplexity", "word_perplexity", "bits_per_byte",
    "open_bits_per_byte", "open_bits_per_byte_lo", "open_bits_per_byte_hi", "covered_reviews", "uncovered_perplexity",
    "uncovered_open_bits_per_byte", "gap", "gap_lo", "gap_hi", "below_floor",
    "impossible", "gain", "gain_lo", "gain_hi", "megabytes", "tokens_per_second",
)


@dataclass(frozen=True)
class Evaluated:
    """All models of a run, measured on the same test reviews."""

    models: tuple[Measured, ...]
    comparison: ModelComparison

    @property
    def floor(self) -> dict[str, Any] | None:
        """Facts of the floor: the cost of the test reviews under the grammar; None if no grammar wrote them."""
        return self.comparison.floor

    def named(self, name: str) -> Measured:
        """Return the model with this name."""
        return next(model for model in self.models if model.name == name)


@stage("compare")
def compare_models(config: RunConfig, prepared: Prepared, measured: list[Measured], parent_run_id: str) -> Evaluated:
    """Compare the models and log the result: table, differences, slices, floor."""
    comparison = compare(config, prepared, measured)
    tracker = tracker_of(config)
    _log_comparison(tracker, comparison, parent_run_id)
    for model in measured:
        _log_to_model(tracker, comparison, model)
    _log_documents(config, [*prepared.checks, *(check for model in measured for check in model.checks)], parent_run_id)
    shown = comparison.table.select(column for column in TABLE_COLUMNS if column in comparison.table.columns)
    static = pl.col("adaptation") == STATIC
    beside = f"MLflow: {tracker.link(parent_run_id)}"
    for key, what, rows in (
        ("models", "Test reviews, best first.", shown.filter(static)),
        ("models-adapting", "Models that adapt to the review they are measured on, best first.", shown.filter(~static)),
    ):
        if len(rows):
            show_table(key, rows.to_dicts(), f"{what} {beside}")
    written = "\n\n".join(f"## {literal(model.name)}\n\n{_quoted_samples(model)}" for model in measured)
    show_markdown("samples", written, "Reviews that the models have written")
    return Evaluated(tuple(measured), comparison)


def _log_comparison(tracker: Tracker, comparison: ModelComparison, run_id: str) -> None:
    """Log the tables to the flow's run; figures of single models are metrics of their own runs."""
    tables = {"models": comparison.table, "differences": comparison.differences, "slices": comparison.slices,
              "worst_slices": comparison.worst}  # fmt: skip
    for name, table in tables.items():
        tracker.log_table(run_id, table, f"{name}.json")
    tracker.set_tags(run_id, {BELOW_TAG: ", ".join(comparison.artifact.facts["below_floor"]) or "none"})


def log_headline(config: RunConfig, evaluated: Evaluated, model: str, run_id: str) -> None:
    """Log the test figures of the model that a run puts forward: the few by which a list of runs is read."""
    row = evaluated.comparison.table.row(by_predicate=pl.col("model") == model, named=True)
    figures = {name: row[name] for name in ("perplexity", "open_bits_per_byte")}
    tracker_of(config).log_metrics(run_id, figures | {"percent_below_baseline": 100 * row["gain"]})


def _log_to_model(tracker: Tracker, comparison: ModelComparison, model: Measured) -> None:
    """Log a model's intervals, gap and cost to its own run, unless the run has those of this comparison."""
    run_id, digest = model.fitted.run_id, comparison.artifact.digest
    if tracker.has_tag(run_id, COMPARED_TAG, digest):
        return
    row = numbers_of(comparison.table.row(by_predicate=pl.col("model") == model.name, named=True))
    new = {name: value for name, value in row.items() if name not in model.test.facts and name not in COSTS}
    costs = {f"cost/{name}": row[name] for name in COSTS if name in row}
    dataset = (f"{model.fitted.spec.vocabulary}-test", model.test.manifest["inputs"]["tokens"])
    named = {f"{_group(name, model)}/{name}": value for name, value in new.items()}
    tracker.log_metrics(run_id, named | costs, dataset=dataset)
    tracker.set_tags(run_id, {COMPARED_TAG: digest})


def _group(name: str, model: Measured) -> str:
    """Return the group of reviews that a figure or interval bound belongs to: "test" (all) or "observed"."""
    return "observed" if name.removesuffix("_lo").removesuffix("_hi") in model.observed.facts else "test"


def numbers_of(row: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of a comparison row; booleans become 1 and 0, missing values are left out."""
    return {name: float(value) for name, value in row.items() if isinstance(value, int | float)}


def _quoted_samples(model: Measured) -> str:
    rows = pl.read_parquet(model.samples.folder / SAMPLES_FILE).to_dicts()
    return "\n\n".join(f"**{row['stars']} stars**\n\n{quoted(row['text'])}" for row in rows)


def _log_documents(config: RunConfig, checks: list[Artifact], run_id: str) -> None:
    """Copy the Data Docs of the checks into the run, with a table of their results, and tag the run with the sum."""
    tracker = tracker_of(config)
    rows = []
    for artifact in checks:
        report, label = read_report(artifact), artifact.manifest["options"]["label"]
        tracker.log_folder(run_id, artifact.folder / "docs", f"data_docs/{label}")
        rows.append({"checked": label, "passed": report.passed, "result": report.summary,
                     "page": f"data_docs/{label}/index.html"})
    failed = [row["checked"] for row in rows if not row["passed"]]
    summary = f"{len(rows)} checks, " + (f"failed: {', '.join(failed)}" if failed else "no critical expectation failed")
    tracker.log_table(run_id, pl.DataFrame(rows, schema={"checked": pl.String, "passed": pl.Boolean,
                                                         "result": pl.String, "page": pl.String}), "checks.json")
    tracker.set_tags(run_id, {CHECKS: summary})
