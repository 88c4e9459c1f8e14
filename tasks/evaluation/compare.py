"""Compare the models of a run and log the result: table, intervals, differences, slices, Data Docs.

Compare two models: find them, measure both on the same test reviews, and log the comparison.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import polars as pl

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.errors import ConfigError, converted_errors
from reviewlm.core.figures import BITS, CHAMPION_GAIN, FARTHEST, RUNS, figures_at, logged_value
from reviewlm.core.output import literal, quote_text
from reviewlm.core.store import Artifact, Store
from reviewlm.core.workspace import Workspace
from reviewlm.evaluation.gate.decision import Decision
from reviewlm.evaluation.statistics.paired import CUT, ComparedModel, Pair, compare_pair
from reviewlm.models.specs import parts_of
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.tasks.data.documents import documents_of
from reviewlm.tasks.data.prepare import VOCABULARY_FILE, Prepared, read_report
from reviewlm.tasks.evaluation.evaluate import (
    COSTS,
    Measured,
    draw_samples,
    figures_of_artifact,
    megabytes,
    score_bundle,
    scores_of,
    speed_of,
    tokens_for,
)
from reviewlm.tasks.evaluation.intervals import Evaluated, compare
from reviewlm.tasks.evaluation.observed import SAMPLES_FILE
from reviewlm.tasks.execution.stage import show_markdown, show_table, stage
from reviewlm.tasks.fitting.fit import bundle_digest, plan_fit
from reviewlm.tasks.fitting.job import Fitted
from reviewlm.tasks.promotion.ancestry import learnt_by
from reviewlm.tasks.records.track import show_retrain, tracker_of
from reviewlm.tracking.registry.locating import version_called
from reviewlm.tracking.registry.remedies import no_such_model, one_model
from reviewlm.tracking.runs.runs import Tracker
from reviewlm.tracking.tags import (
    BELOW_TAG,
    CHECKS,
    COMPARE_A,
    COMPARE_B,
    COMPARED_TAG,
    NOTE,
    RUN_NAME,
)

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
MARKDOWN_FILE = "comparison.md"


@stage("compare")
def compare_models(
    config: RunConfig, prepared: Prepared, measured: list[Measured], parent_run_id: str
) -> Evaluated:
    """Compare the models and log the result: table, differences, slices, floor."""
    evaluated = compare(config.workspace, config.evaluation, config.baseline, prepared, measured)
    tracker = tracker_of(config.workspace)
    _log_comparison(tracker, evaluated, parent_run_id)
    for model in measured:
        _log_to_model(tracker, evaluated, model)

    run_ids = [model.fitted.run_id for model in measured]
    show_retrain(tracker, run_ids, most_bits(evaluated.table))
    checks = list(prepared.checks)
    for model in measured:
        checks.extend(model.checks)
    _log_documents(config.workspace, checks, parent_run_id)

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


def _log_comparison(tracker: Tracker, evaluated: Evaluated, run_id: str) -> None:
    """Log the tables to the flow's run; figures of single models are metrics of their own runs."""
    tables = {
        "models": evaluated.table,
        "differences": evaluated.differences,
        "slices": evaluated.slices,
        "worst_slices": evaluated.worst,
    }
    for name, table in tables.items():
        tracker.log_table(run_id, _as_logged(table), f"{name}.json")

    below = ", ".join(evaluated.artifact.facts["below_floor"])
    tracker.set_tags(run_id, {BELOW_TAG: below or "none"})


def _as_logged(table: pl.DataFrame) -> pl.DataFrame:
    """Return a table with its figures as MLflow has them: gains in per cent."""
    scaled: list[pl.Expr] = []
    for name in table.columns:
        factor = logged_value(name, 1.0)
        if factor != 1:
            scaled.append(pl.col(name) * factor)

    return table.with_columns(scaled)


def log_headline(workspace: Workspace, evaluated: Evaluated, model: str, run_id: str) -> None:
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


def log_gain(workspace: Workspace, decision: Decision, run_id: str) -> None:
    """Log the gain over the champion, if the gate measured one: both models on the test reviews of this run."""
    gain = decision.figures.get(CHAMPION_GAIN.words)
    if gain is not None:
        logged = round(CHAMPION_GAIN.logged(gain), 4)
        tracker_of(workspace).log_metrics(run_id, {CHAMPION_GAIN.run_name: logged})


def _log_to_model(tracker: Tracker, evaluated: Evaluated, model: Measured) -> None:
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
    observed = {
        f"{name}{end}" for name in model.observed.facts for end in ("", "_lo", "_hi")
    }  # of a sample of reviews
    named = {
        f"{'observed' if name in observed else 'test'}/{name}": value for name, value in new.items()
    }
    costs = {f"cost/{name}": row[name] for name in COSTS if name in row}
    dataset = (f"{model.fitted.spec.vocabulary}-test", model.test.manifest["inputs"]["tokens"])
    tracker.log_metrics(run_id, named | costs, dataset=dataset)
    tracker.set_tags(run_id, {COMPARED_TAG: digest})


def _log_documents(workspace: Workspace, checks: list[Artifact], run_id: str) -> None:
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


@stage("compare two", run_name="compare {first} {second}")
def compare_two(
    config: RunConfig, prepared: Prepared, first: str, second: str, parent_run_id: str
) -> Pair:
    """Measure two models on the test reviews of this configuration, and log the comparison.

    Args:
        first: Number or alias of a registered version, or the name of a model that this configuration has fitted.
        second: The other model, in the same form.

    Raises:
        ConfigError: There is no such version, alias or model; or both are one model.
        BundleError: A model cannot be opened.
    """
    bundles = [find_bundle(config, prepared, name)[1] for name in (first, second)]
    if bundle_digest(bundles[0]) == bundle_digest(bundles[1]):
        model_name = config.promotion.model_name
        raise one_model(tracker_of(config.workspace), model_name, (first, second), None)

    a = side_of(config, prepared, first)
    b = side_of(config, prepared, second)
    options = config.evaluation
    pair = compare_pair(
        a,
        b,
        documents_of(prepared.clean),
        min_reviews=options.min_slice_reviews,
        **options.bootstrap,
        gate_confidence=config.promotion.confidence,
        max_review_loss=config.promotion.max_review_loss,
    )
    _log(config.workspace, pair, parent_run_id)
    return pair


def side_of(config: RunConfig, prepared: Prepared, name: str) -> ComparedModel:
    """Return a model with scores on the test reviews, samples and cost; reuse stored scores and samples.

    Raises:
        ConfigError: There is no such version, alias or model.
        BundleError: The model cannot be opened.
    """
    shown, folder = find_bundle(config, prepared, name)
    with converted_errors(folder):
        tokens = tokens_for(config, folder, prepared)
        test = score_bundle(
            config.workspace, config.evaluation, folder, tokens, f"{shown} test"
        ).artifact
        samples = draw_samples(config.workspace, config.evaluation, folder, shown).artifact
        entries = entries_of(folder)
        learnt, problems = learnt_by(config.home, prepared.clean, folder)

    texts = pl.read_parquet(samples.folder / SAMPLES_FILE)
    costs = {"megabytes": megabytes(folder), **speed_of(test)}
    return ComparedModel(
        shown,
        bundle_digest(folder),
        scores_of(test),
        figures_of_artifact(test),
        texts,
        costs,
        entries,
        learnt,
        problems,
    )


def find_bundle(config: RunConfig, prepared: Prepared, name: str) -> tuple[str, Path]:
    """Return a model's name, as comparisons show it, and the folder of its bundle.

    Raises:
        ConfigError: There is no such version, alias or model.
    """
    registered = version_called(config.workspace, config.promotion.model_name, name)
    if registered is None:
        return name, _stored_fit(config, prepared, name).bundle

    number = registered.version.version
    shown = f"version {number}" if name.isdigit() else f"{name} (version {number})"
    return shown, registered.folder


def entries_of(bundle: Path) -> int:
    """Return the size of a bundle's vocabulary."""
    return Vocabulary.load(bundle / VOCABULARY_FILE).size


def _stored_fit(config: RunConfig, prepared: Prepared, name: str) -> Fitted:
    """Return the stored fit of a model of this configuration."""
    spec = next((spec for spec in config.models if spec.name == name), None)
    if spec is None:
        models = [spec.name for spec in config.models]
        raise no_such_model(config.workspace, config.promotion.model_name, models, name)

    parts = {part: _stored_fit(config, prepared, part) for part in parts_of(spec)}
    artifact = Store.of(config.home).find("fit", plan_fit(config, spec, prepared, parts).digest)
    if artifact is None:
        raise ConfigError(
            f"The model '{name}' has not been fitted with these settings",
            value=name,
            remedy=f"`reviewlm run --preset {config.preset} --until train` fits it",
        )

    return Fitted(spec, artifact, "", True)


def _log(workspace: Workspace, pair: Pair, run_id: str) -> None:
    tracker = tracker_of(workspace)
    for name, table in pair.tables().items():
        tracker.log_table(run_id, _as_logged(table), f"{name}.json")

    tracker.log_text(run_id, pair.to_markdown(), MARKDOWN_FILE)
    figures = {}
    for row in pair.figures.to_dicts():
        for column, value in row.items():
            if isinstance(value, float):
                figures[f"compared/{row['figure'].replace(' ', '_')}_{column}"] = logged_value(
                    column, value
                )

    tracker.log_metrics(run_id, figures)
    note = "\n\n".join([f"{pair.verdict}.", f"A: {pair.a}, B: {pair.b}.", *pair.notes])
    tags = {COMPARE_A: pair.a, COMPARE_B: pair.b, NOTE: note}
    name = tracker.tag(run_id, RUN_NAME)
    verdict = f"{pair.surely_better} better, "
    if pair.surely_better and not name.startswith(verdict):
        tags[RUN_NAME] = f"{verdict}{name}"

    tracker.set_tags(run_id, tags)
    title = f"{pair.verdict}. MLflow: {tracker.link(run_id)}"
    show_markdown("comparison", pair.to_markdown(), title)


def write_markdown(pair: Pair, folder: Path) -> Path:
    """Write the comparison as a Markdown file to *folder* and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    name = ""
    for character in f"{pair.a}--{pair.b}":
        is_safe = character.isalnum() or character in "-_."
        name += character if is_safe else "-"

    file = folder / f"{name}.md"
    file.write_text(pair.to_markdown(), encoding="utf-8")
    return file
