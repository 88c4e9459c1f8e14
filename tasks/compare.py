"""What compares the models of a run: table, figures, per-star bars, the floor, and the documents beside them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from corpus.split import iter_split
from evaluation.comparison import comparison_table
from evaluation.figures import loss_curves, perplexity_bars, read_journal, star_bars
from evaluation.floor import Floor, floor_of
from evaluation.metrics import star_slices
from reviewlm.config import RunConfig
from reviewlm.store import Artifact, Built
from tasks.evaluate import SAMPLES_FILE, Measured, figures_of_artifact, scores_of
from tasks.prepare import Prepared, read_report
from tasks.stage import run_stage, show_markdown, show_table
from tasks.track import JOURNAL, tracker_of

FLOOR_VERSION = 1
TABLE_COLUMNS = (
    "model", "kind", "adaptation", "unit", "perplexity", "word_perplexity", "bits_per_byte", "open_bits_per_byte",
    "impossible", "gain",
)


@dataclass(frozen=True)
class Evaluated:
    """All models of a run, measured on the same test reviews."""

    models: tuple[Measured, ...]
    floor: dict[str, Any] | None = field(default=None)

    def named(self, name: str) -> Measured:
        """Return the model of this name."""
        return next(model for model in self.models if model.name == name)


@task(name="compare", cache_policy=NO_CACHE, persist_result=False)
def compare_models(config: RunConfig, prepared: Prepared, measured: list[Measured], parent_run_id: str) -> Any:
    """Draw and log what compares the models: table, perplexity bars, curves, per-star bars, and the floor."""
    table = table_of(config, measured)
    floor = estimate_floor(config, prepared)
    found = floor.artifact.facts if floor.artifact.facts.get("explained") else None
    tracker = tracker_of(config)
    tracker.log_table(parent_run_id, table, "models.json")
    for row in table.to_dicts():
        numbers = {name: value for name, value in row.items() if isinstance(value, int | float) and value is not None}
        tracker.log_metrics(parent_run_id, {f"{row['model']}/{name}": value for name, value in numbers.items()})
    _draw(config, measured, table, found, parent_run_id)
    _log_documents(config, [*prepared.checks, *(check for model in measured for check in model.checks)], parent_run_id)
    shown = table.select(column for column in TABLE_COLUMNS if column in table.columns)
    show_table("models", shown.to_dicts(), f"Test reviews, best first. MLflow: {tracker.link(parent_run_id)}")
    for model in measured:
        show_markdown(f"samples-{model.name}", _quoted_samples(model), f"Reviews written by {model.name}")
    return Evaluated(tuple(measured), found)


def _quoted_samples(model: Measured) -> str:
    rows = pl.read_parquet(model.samples.folder / SAMPLES_FILE).to_dicts()
    return "\n\n".join(f"**{row['stars']} stars**\n\n> " + row["text"].replace("\n", "\n> ") for row in rows)


def table_of(config: RunConfig, measured: list[Measured] | tuple[Measured, ...]) -> pl.DataFrame:
    """Return the comparison table on the test split, best first."""
    figures = {model.name: figures_of_artifact(model.test) for model in measured}
    kinds = {model.name: model.fitted.spec.kind for model in measured}
    return comparison_table(figures, kinds, config.baseline)


def estimate_floor(config: RunConfig, prepared: Prepared) -> Built:
    """Return what the test reviews cost the grammar that wrote them; empty facts where it has not written them."""

    def make(work: Path) -> dict[str, Any]:
        reviews = pl.concat(iter_split(prepared.clean.folder, "test")).select("text", "stars", "bytes")
        floor = floor_of(reviews)
        facts = {} if floor is None else floor.to_dict()
        (work / "floor.json").write_text(json.dumps(facts), encoding="utf-8")
        return facts

    return run_stage(config, "floor", FLOOR_VERSION, {}, {"clean": prepared.clean.digest}, make, "of the test reviews")


def _draw(
    config: RunConfig, measured: list[Measured], table: pl.DataFrame, floor: dict[str, Any] | None, run_id: str
) -> None:
    tracker = tracker_of(config)
    histories = {model.name: read_journal(model.fitted.artifact.folder / JOURNAL) for model in measured}
    line = Floor(**{name: floor[name] for name in ("reviews", "explained", "nats", "bytes")}) if floor else None
    slices = {model.name: star_slices(scores_of(model.test), figures_of_artifact(model.test)) for model in measured}
    tracker.log_figure(run_id, loss_curves(histories), "plots/loss_curves.png")
    tracker.log_figure(run_id, perplexity_bars(table, line, config.baseline), "plots/perplexity_by_model.png")
    tracker.log_figure(run_id, star_bars(slices), "plots/bits_per_byte_by_stars.png")


def _log_documents(config: RunConfig, checks: list[Artifact], run_id: str) -> None:
    """Copy the Data Docs of the checks into the run, and say what they found."""
    tracker = tracker_of(config)
    for artifact in checks:
        report = read_report(artifact)
        label = artifact.manifest["options"]["label"]
        tracker.log_folder(run_id, artifact.folder / "docs", f"data_docs/{label}")
        tracker.set_tags(run_id, {f"checks.{label}": report.summary})
