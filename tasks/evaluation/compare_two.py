"""Compare two models: find them, measure both on the same test reviews, and log the comparison."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from core.config.run_config import RunConfig
from core.errors import ConfigError, ReviewLMError, converted_errors
from evaluation.statistics.paired import A, ComparedModel, Pair, compare_pair
from evaluation.statistics.slice_table import SliceOptions
from models.bundles.bundle import SPEC
from models.specs import parts_of
from models.tokens.vocabulary import Vocabulary
from tasks.data.documents import documents_of
from tasks.data.prepare import VOCABULARY_FILE, Prepared
from tasks.evaluation.cost import cost_of_fit, with_parts
from tasks.evaluation.evaluate import draw_samples, figures_of_artifact, score_bundle, scores_of
from tasks.fitting.fit import bundle_digest, plan_fit
from tasks.fitting.job import Fitted
from tasks.measuring.observed import SAMPLES_FILE
from tasks.promotion.language import tokens_for
from tasks.stage import show_markdown, stage, store_of
from tasks.track import tracker_of
from tracking.client import ABSENT, error_code
from tracking.registry.version_settings import no_such_model, version_called
from tracking.tags import COMPARE_A, COMPARE_B, NOTE

OF_RUN = {
    "parameters": ("cost/parameters", "fit/parameters"),
    "fit_seconds": ("cost/fit_seconds",),  # `fit/seconds` counts only the updates
    "fit_cpu_seconds": ("cost/fit_cpu_seconds", "fit/cpu_seconds"),
}
"""Cost figures of a version: the names that its MLflow run may have them under. The run's comparison logged "cost/…",
which includes a model's parts; "fit/…", the summary of the fit, is for runs that were never compared."""
MARKDOWN_FILE = "comparison.md"


@stage("compare two", run_name="compare {first} {second}")
def compare_two(config: RunConfig, prepared: Prepared, first: str, second: str, parent_run_id: str) -> Pair:
    """Measure two models on the test reviews of this configuration, and log the comparison.

    Args:
        prepared: Its prepared data.
        first: Number or alias of a registered version, or the name of a model that this configuration has fitted.
        second: The other model, in the same form.
        parent_run_id: The MLflow run that gets the comparison.

    Raises:
        ConfigError: There is no such version, alias or model.
        BundleError: A model cannot be opened.
    """
    a, b = (side_of(config, prepared, name) for name in (first, second))
    chosen = config.evaluation
    options = SliceOptions(
        A, chosen.min_slice_reviews, confidence=chosen.confidence, resamples=chosen.resamples, seed=chosen.seed
    )
    pair = compare_pair(a, b, documents_of(prepared.clean), options)
    _log(config, pair, parent_run_id)
    return pair


def side_of(config: RunConfig, prepared: Prepared, name: str) -> ComparedModel:
    """Return a model with scores on the test reviews, samples and cost; reuse stored scores and samples.

    Raises:
        ConfigError: There is no such version, alias or model.
        BundleError: The model cannot be opened.
    """
    registered = version_called(config, name)
    if registered is not None:
        folder, version = registered.folder, registered.version
        shown = f"version {version.version}" if name.isdigit() else f"{name} (version {version.version})"
        cost = _costs_of_run(config, version.run_id)
    else:
        fits = _stored_fits(config, prepared, name)
        folder, shown = fits[name].bundle, name
        costs = {one: cost_of_fit(fit.artifact) for one, fit in fits.items()}
        cost = with_parts(name, costs, {one: parts_of(fit.spec) for one, fit in fits.items()})
    with converted_errors(folder):
        tokens = tokens_for(config, folder, prepared)
        test = score_bundle(config, folder, tokens, f"{shown} test").artifact
        samples, entries = draw_samples(config, folder, shown).artifact, entries_of(folder)
    spec = json.loads((folder / SPEC).read_text(encoding="utf-8"))
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    seconds = test.facts.get("score_seconds")
    speed = {"score_seconds": seconds, "tokens_per_second": test.facts["tokens"] / seconds if seconds else None}
    other_data = spec.get("clean_digest") != prepared.clean.digest
    return ComparedModel(
        shown, str(spec["kind"]), bundle_digest(folder), other_data, scores_of(test), figures_of_artifact(test),
        pl.read_parquet(samples.folder / SAMPLES_FILE), {"megabytes": size / 1e6, **cost, **speed},
        entries,
    )


def entries_of(bundle: Path) -> int:
    """Return the size of a bundle's vocabulary."""
    return Vocabulary.load(bundle / VOCABULARY_FILE).size


def _stored_fits(config: RunConfig, prepared: Prepared, name: str) -> dict[str, Fitted]:
    """Return the stored fits of a model of this configuration and of all its parts, by name."""
    spec = next((spec for spec in config.models if spec.name == name), None)
    if spec is None:
        raise no_such_model(config, name)
    fits: dict[str, Fitted] = {}
    for part in parts_of(spec):
        fits |= _stored_fits(config, prepared, part)
    parts = {part: fits[part] for part in parts_of(spec)}
    artifact = store_of(config).find("fit", plan_fit(config, spec, prepared, parts).digest)
    if artifact is None:
        raise ConfigError(
            f"The model '{name}' has not been fitted with these settings", value=name,
            remedy="run `reviewlm run --until train` first",
        )
    return {**fits, name: Fitted(spec, artifact, "", True)}


def _costs_of_run(config: RunConfig, run_id: str) -> dict[str, float | None]:
    """Return the cost of a version's fit as logged to MLflow; all None if its run was deleted (`mlflow gc`)."""
    try:
        metrics = tracker_of(config).metrics(run_id) if run_id else {}
    except ReviewLMError as error:
        if error_code(error) not in ABSENT:
            raise
        metrics = {}
    return {name: next((metrics[one] for one in places if one in metrics), None) for name, places in OF_RUN.items()}


def _log(config: RunConfig, pair: Pair, run_id: str) -> None:
    tracker = tracker_of(config)
    for name, table in pair.tables().items():
        tracker.log_table(run_id, table, f"{name}.json")
    tracker.log_text(run_id, pair.to_markdown(), MARKDOWN_FILE)
    figures = {
        f"{row['figure'].replace(' ', '_')}/{column}": value
        for row in pair.figures.to_dicts() for column, value in row.items() if isinstance(value, float)
    }
    tracker.log_metrics(run_id, figures)
    verdicts = [f"{row['figure']}: {row['verdict']}" for row in pair.figures.to_dicts()]
    note = "\n\n".join([f"A: {pair.a}, B: {pair.b}.", *pair.notes, *verdicts])
    tracker.set_tags(run_id, {COMPARE_A: pair.a, COMPARE_B: pair.b, NOTE: note})
    show_markdown("comparison", pair.to_markdown(), f"{pair.a} and {pair.b}. MLflow: {tracker.link(run_id)}")


def write_markdown(pair: Pair, folder: Path) -> Path:
    """Write the comparison as a Markdown file to *folder* and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [character if character.isalnum() or character in "-_." else "-" for character in f"{pair.a}--{pair.b}"]
    file = folder / f"{''.join(letters)}.md"
    file.write_text(pair.to_markdown(), encoding="utf-8")
    return file
