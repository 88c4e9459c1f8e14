"""Compare the models of a run and log the result: table, intervals, differences, slices, Data Docs."""

from __future__ import annotations

from typing import cast

import polars as pl

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.figures import (
    BASELINE_GAIN,
    BITS,
    CHAMPION_GAIN,
    FARTHEST,
    RUNS,
    figures_at,
    logged_value,
)
from reviewlm.core.output import literal, quote_text
from reviewlm.core.store import Artifact
from reviewlm.core.workspace import Workspace
from reviewlm.evaluation.gate.decision import Decision
from reviewlm.evaluation.statistics.paired import CUT
from reviewlm.models.base import STATIC
from reviewlm.tasks.data.prepare import Prepared, read_report
from reviewlm.tasks.evaluation.evaluate import COSTS, Measured
from reviewlm.tasks.evaluation.intervals import Evaluated, compare
from reviewlm.tasks.evaluation.observed import SAMPLES_FILE
from reviewlm.tasks.execution.stage import show_markdown, show_table, stage_task
from reviewlm.tasks.records.track import explain_figures, show_retrain, tracker_of
from reviewlm.tracking.runs.runs import Tracker
from reviewlm.tracking.tags import BELOW_TAG, CHECKS, COMPARED_TAG

TABLE_COLUMNS = (
    "model",
    "kind",
    "adaptation",
    "baseline",
    "unit",
    "perplexity",
    "word_perplexity",
    "bits_per_byte",
    "open_bits_per_byte",
    "open_bits_per_byte_lo",
    "open_bits_per_byte_hi",
    "covered_reviews",
    "uncovered_perplexity",
    "uncovered_open_bits_per_byte",
    "gap",
    "gap_lo",
    "gap_hi",
    "below_floor",
    "impossible",
    "baseline_gain",
    "baseline_gain_lo",
    "baseline_gain_hi",
    "megabytes",
    "tokens_per_second",
)
CHECK_COLUMNS = {
    "checked": pl.String,
    "passed": pl.Boolean,
    "result": pl.String,
    "page": pl.String,
}


@stage_task("compare")
def compare_models(
    config: RunConfig,
    prepared: Prepared,
    measured: list[Measured],
    parent_run_id: str,
) -> Evaluated:
    """Compare the models and log the result: table, differences, slices, floor."""
    workspace = config.workspace
    evaluated = compare(
        workspace,
        config.evaluation,
        config.baseline,
        prepared,
        measured,
    )
    tracker = tracker_of(workspace)
    _log_comparison(tracker, evaluated, parent_run_id)
    for model in measured:
        _log_to_model(tracker, evaluated, model)
        explain_figures(tracker, model.fitted.run_id, _explanation(evaluated, model.name))

    run_ids = [model.fitted.run_id for model in measured]
    may_be_champion = config.promotion.adaptation
    adaptation = "" if may_be_champion == "any" else may_be_champion
    show_retrain(tracker, run_ids, most_bits(evaluated.table), adaptation)
    checks = list(prepared.checks)
    for model in measured:
        checks.extend(model.checks)
    _log_documents(workspace, checks, parent_run_id)

    columns = [column for column in TABLE_COLUMNS if column in evaluated.table.columns]
    shown = evaluated.table.select(columns)
    about = "Test reviews: static models, then those that adapt to the review they are measured on, each best first."
    show_table("models", shown.to_dicts(), f"{about} MLflow: {tracker.link(parent_run_id)}")
    samples = "\n\n".join(_list_samples(model) for model in measured)
    show_markdown("samples", samples, "Reviews that the models have written")
    return evaluated


def most_bits(table: pl.DataFrame) -> float | None:
    """Return the bits per byte up to which charts show a model, as a page of MLflow cannot limit an axis.

    None if no model needs far more than the best one (`FARTHEST`).
    """
    bits_M = table[BITS.name]
    best = bits_M.filter(bits_M.is_finite()).min()
    if best is None:
        return None

    edge = FARTHEST * float(cast(float, best))
    return edge if (bits_M > edge).any() else None


def _list_samples(model: Measured) -> str:
    """Return the reviews that a model has written, in Markdown."""
    paragraphs = [f"## {literal(model.name)}"]
    for row in pl.read_parquet(model.samples.folder / SAMPLES_FILE).to_dicts():
        text = row["text"]
        if not row["ended"]:
            text += CUT
        paragraphs += [f"**{row['stars']} stars**", quote_text(text)]

    return "\n\n".join(paragraphs)


def _log_comparison(
    tracker: Tracker,
    evaluated: Evaluated,
    run_id: str,
) -> None:
    """Log the tables to the flow's run; figures of single models are metrics of their own runs."""
    tables = {
        "models": evaluated.table,
        "differences": evaluated.differences,
        "slices": evaluated.slices,
        "worst_slices": evaluated.worst,
    }
    for name, table in tables.items():
        tracker.log_table(run_id, as_logged(table), f"{name}.json")

    below = ", ".join(evaluated.artifact.facts["below_floor"])
    tracker.set_tags(run_id, {BELOW_TAG: below or "none"})


def as_logged(table: pl.DataFrame) -> pl.DataFrame:
    """Return a table with its figures as MLflow has them: gains in per cent."""
    scaled: list[pl.Expr] = []
    for name in table.columns:
        factor = logged_value(name, 1.0)
        if factor != 1:
            scaled.append(pl.col(name) * factor)

    return table.with_columns(scaled)


def log_headline(
    workspace: Workspace,
    evaluated: Evaluated,
    model: str,
    run_id: str,
) -> None:
    """Log the test figures of the model that a run puts forward, rounded: the few by which a list of runs is read."""
    row = evaluated.row(model)
    figures = {}
    for figure in figures_at(RUNS):
        if row.get(figure.name) is not None:
            figures[figure.run_name] = figure.logged(row[figure.name])

    figures["reviews"] = row["reviews"]
    tracker_of(workspace).log_metrics(
        run_id, {name: round(value, 4) for name, value in figures.items()}
    )


def log_gain(
    workspace: Workspace,
    decision: Decision,
    run_id: str,
) -> None:
    """Log the gain over the champion, if the gate measured one: both models on the test reviews of this run."""
    gain = decision.figures.get(CHAMPION_GAIN.words)
    if gain is not None:
        logged = round(CHAMPION_GAIN.logged(gain), 4)
        tracker_of(workspace).log_metrics(run_id, {CHAMPION_GAIN.run_name: logged})


def _log_to_model(
    tracker: Tracker,
    evaluated: Evaluated,
    model: Measured,
) -> None:
    """Log a model's intervals, gap and cost to its own run, unless the run has those of this comparison."""
    run_id = model.fitted.run_id
    digest = evaluated.artifact.digest
    if tracker.has_tag(run_id, COMPARED_TAG, digest):
        return

    row = {}
    for name, value in evaluated.row(model.name).items():
        if isinstance(value, int | float):
            row[name] = logged_value(name, float(value))

    logged = {*model.test.facts, *model.observed.facts, *COSTS}  # by `evaluate`, or below
    new = {name: value for name, value in row.items() if name not in logged}
    # These figures are of a sample of reviews.
    observed = {f"{name}{end}" for name in model.observed.facts for end in ("", "_lo", "_hi")}
    named = {
        f"{'observed' if name in observed else 'test'}/{name}": value for name, value in new.items()
    }
    costs = {f"cost/{name}": row[name] for name in COSTS if name in row}
    dataset = (f"{model.fitted.spec.vocabulary}-test", model.test.manifest["inputs"]["tokens"])
    tracker.log_metrics(run_id, named | costs, dataset=dataset)
    tracker.set_tags(run_id, {COMPARED_TAG: digest})


def _explanation(evaluated: Evaluated, model: str) -> str:
    """Return the baseline of a model's gain and the floor of its gap, explained in Markdown; "" if it has neither."""
    row = evaluated.row(model)
    sentences: list[str] = []
    baseline = row["baseline"]
    if baseline and baseline != model and row["baseline_gain"] is not None:
        gain = f"`test/{BASELINE_GAIN.name}` is the share of the bits of {literal(baseline)} that it saves, in per cent"
        if row["adaptation"] != STATIC:
            gain += f"; {literal(baseline)} adapts too, so it is no gain over the baseline of static models"
        sentences.append(f"{gain}.")

    if evaluated.floor and row.get("gap") is not None:
        floor = f"{evaluated.floor['bits_per_byte']:.4f} bits per byte"
        sentences.append(
            f"`test/gap` are its bits per byte above the floor: the {floor} that these test reviews need under the "
            "grammar that generated them."
        )

    return " ".join(sentences)


def _log_documents(
    workspace: Workspace,
    checks: list[Artifact],
    run_id: str,
) -> None:
    """Copy the Data Docs of the checks into the run, with a table of their results, and tag the run with the sum."""
    tracker = tracker_of(workspace)
    rows = []
    for artifact in checks:
        report = read_report(artifact)
        label = artifact.manifest["options"]["label"]
        tracker.log_folder(run_id, artifact.folder / "docs", f"data_docs/{label}")
        rows.append(
            {
                "checked": label,
                "passed": report.passed,
                "result": report.summary,
                "page": f"data_docs/{label}/index.html",
            }
        )

    outcome = "no critical expectation failed"
    failed = [row["checked"] for row in rows if not row["passed"]]
    if failed:
        outcome = f"failed: {', '.join(failed)}"

    tracker.log_table(run_id, pl.DataFrame(rows, schema=CHECK_COLUMNS), "checks.json")
    tracker.set_tags(run_id, {CHECKS: f"{len(rows)} checks, {outcome}"})
