"""Compare two models: find them, measure both on the same test reviews, and log the comparison."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.errors import ConfigError, converted_errors
from reviewlm.core.figures import logged_value
from reviewlm.core.store import Store
from reviewlm.core.workspace import Workspace
from reviewlm.evaluation.statistics.paired import ComparedModel, Pair, compare_pair
from reviewlm.models.specs import parts_of
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.tasks.data.documents import documents_of
from reviewlm.tasks.data.prepare import VOCABULARY_FILE, Prepared
from reviewlm.tasks.evaluation.compare import as_logged
from reviewlm.tasks.evaluation.evaluate import (
    draw_samples,
    figures_of_artifact,
    megabytes,
    score_bundle,
    scores_of,
    speed_of,
    tokens_for,
)
from reviewlm.tasks.evaluation.observed import SAMPLES_FILE
from reviewlm.tasks.execution.stage import show_markdown, stage_task
from reviewlm.tasks.fitting.fit import FitSettings, bundle_digest, plan_fit
from reviewlm.tasks.fitting.job import Fitted
from reviewlm.tasks.promotion.ancestry import learnt_by
from reviewlm.tasks.records.track import tracker_of
from reviewlm.tracking.registry.locating import version_called
from reviewlm.tracking.registry.remedies import no_such_model, one_model
from reviewlm.tracking.tags import COMPARE_A, COMPARE_B, NOTE, RUN_NAME

MARKDOWN_FILE = "comparison.md"


@stage_task("compare two", run_name="compare {first} {second}")
def compare_two(
    config: RunConfig,
    prepared: Prepared,
    first: str,
    second: str,
    parent_run_id: str,
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
    documents = documents_of(prepared.clean)
    evaluation = config.evaluation
    promotion = config.promotion
    pair = compare_pair(
        a,
        b,
        documents,
        min_reviews=evaluation.min_slice_reviews,
        **evaluation.bootstrap,
        gate_confidence=promotion.confidence,
        max_review_loss=promotion.max_review_loss,
    )
    _log(config.workspace, pair, parent_run_id)
    return pair


def side_of(
    config: RunConfig,
    prepared: Prepared,
    name: str,
) -> ComparedModel:
    """Return a model with scores on the test reviews, samples and cost; reuse stored scores and samples.

    Raises:
        ConfigError: There is no such version, alias or model.
        BundleError: The model cannot be opened.
    """
    shown, folder = find_bundle(config, prepared, name)
    with converted_errors(folder):
        workspace = config.workspace
        evaluation = config.evaluation
        tokens = tokens_for(workspace, folder, prepared)
        test = score_bundle(
            workspace,
            evaluation,
            folder,
            tokens,
            f"{shown} test",
        ).artifact
        samples = draw_samples(workspace, evaluation, folder, shown).artifact
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


def find_bundle(
    config: RunConfig,
    prepared: Prepared,
    name: str,
) -> tuple[str, Path]:
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


def _stored_fit(
    config: RunConfig,
    prepared: Prepared,
    name: str,
) -> Fitted:
    """Return the stored fit of a model of this configuration."""
    spec = next((spec for spec in config.models if spec.name == name), None)
    if spec is None:
        models = [spec.name for spec in config.models]
        raise no_such_model(config.workspace, config.promotion.model_name, models, name)

    parts = {part: _stored_fit(config, prepared, part) for part in parts_of(spec)}
    plan = plan_fit(FitSettings.of(config), spec, prepared, parts)
    artifact = Store.of(config.home).find("fit", plan.digest)
    if artifact is None:
        raise ConfigError(
            f"The model '{name}' has not been fitted with these settings",
            value=name,
            remedy=f"`reviewlm run --preset {config.preset} --until train` fits it",
        )

    return Fitted(spec, artifact, "", True)


def _log(
    workspace: Workspace,
    pair: Pair,
    run_id: str,
) -> None:
    tracker = tracker_of(workspace)
    for name, table in pair.tables().items():
        tracker.log_table(run_id, as_logged(table), f"{name}.json")

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
    tags = {
        COMPARE_A: pair.a,
        COMPARE_B: pair.b,
        NOTE: note,
    }
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
    name = re.sub(r"[^\w.+]+", "-", f"{pair.a}-and-{pair.b}")
    file = folder / f"{name.strip('-')}.md"
    file.write_text(pair.to_markdown(), encoding="utf-8")
    return file
