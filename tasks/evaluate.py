"""Scores, figures and samples of every model on the same reviews, and the table that compares them."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from corpus.clean import iter_split
from evaluation.figures import loss_curves, perplexity_bars, read_journal, star_bars
from evaluation.floor import floor_of
from evaluation.metrics import (
    Figures,
    comparison_table,
    figures_of,
    figures_of_bundle,
    policies,
    star_slices,
    usefulness,
)
from evaluation.score import score_stream
from models.bundle import bundle_digest, load_bundle
from models.sampling import generate, suggest
from models.streams import TokenStream
from reviewlm.config import RunConfig
from reviewlm.store import Artifact, Built
from tasks.fit import Fitted, device_of
from tasks.prepare import Prepared, check_table, read_report
from tasks.progress import progress
from tasks.stage import converted_errors, finished, run_stage, show_markdown, show_table
from tasks.track import JOURNAL, ModelRun, tracker_of

SCORE_VERSION = 1
SAMPLES_VERSION = 1
FLOOR_VERSION = 1
SCORES_FILE, FIGURES_FILE, SAMPLES_FILE, SUGGESTIONS_FILE = (
    "scores.parquet", "figures.json", "samples.parquet", "suggestions.parquet",
)
TABLE_COLUMNS = ("model", "kind", "unit", "perplexity", "word_perplexity", "bits_per_byte", "open_bits_per_byte", "gain")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """A fitted model with its scores on both held-out splits and its samples."""

    fitted: Fitted
    test: Artifact
    validation: Artifact
    samples: Artifact

    @property
    def name(self) -> str:
        """The model's name in tables."""
        return self.fitted.spec.name


@dataclass(frozen=True)
class Evaluated:
    """All models of a run, measured on the same test reviews."""

    models: tuple[Measured, ...]
    floor: dict[str, Any] | None = field(default=None)

    def named(self, name: str) -> Measured:
        """Return the model of this name."""
        return next(model for model in self.models if model.name == name)


@task(name="measure", task_run_name="measure {fitted.spec.name}", cache_policy=NO_CACHE, persist_result=False)
def measure(config: RunConfig, fitted: Fitted, prepared: Prepared) -> Any:
    """Score one model on the validation and the test split, and let it write."""
    tokens = prepared.tokens[fitted.spec.vocabulary]
    with converted_errors(fitted.spec.name):
        test = score_bundle(config, fitted.bundle, tokens["test"], f"{fitted.spec.name} test")
        validation = score_bundle(config, fitted.bundle, tokens["validation"], f"{fitted.spec.name} validation")
        samples = draw_samples(config, fitted.bundle)
    for built in (test, validation):
        check_table.fn(config, "predictions", built.artifact, f"predictions {fitted.spec.name}")
    tracker = tracker_of(config)
    if not test.reused or not fitted.reused:
        _log_figures(ModelRun(tracker, fitted.run_id, known=False), test.artifact, validation.artifact, samples.artifact)
    measured = Measured(fitted, test.artifact, validation.artifact, samples.artifact)
    return finished(Built(test.artifact, test.reused and validation.reused and samples.reused), measured)


def score_bundle(config: RunConfig, bundle_folder: Path, tokens: Artifact, label: str) -> Built:
    """Return the scores of a bundle on a token stream: one stage for n-gram, network, champion and challenger."""
    options = config.evaluation.model_dump(mode="json", include={"usefulness_reviews", "seed"})

    def make(work: Path) -> dict[str, Any]:
        bundle = load_bundle(bundle_folder, device_of(config))
        stream = TokenStream.open(tokens.folder)
        with progress(label, len(stream), "reviews") as report:
            rows = score_stream(bundle, stream, work, report=lambda done, total: report(done))
        whole = figures_of_bundle(rows, bundle)
        useful = usefulness(bundle, stream, options["usefulness_reviews"], options["seed"])
        vocabulary = bundle.vocabulary
        stated = policies(vocabulary.boundary_policy, vocabulary.digest, vocabulary.unit)
        figures = {**whole.to_dict(), **{name: useful[name] for name in ("hit@1", "hit@3", "hit@5", "mrr")}}
        text = json.dumps({"figures": figures, "policies": stated, "usefulness": useful}, indent=2)
        (work / FIGURES_FILE).write_text(text, encoding="utf-8")
        return figures

    inputs = {"bundle": bundle_digest(bundle_folder), "tokens": tokens.digest}
    return run_stage(config, "score", SCORE_VERSION, options, inputs, make)


def draw_samples(config: RunConfig, bundle_folder: Path) -> Built:
    """Return reviews that a bundle wrote for each star rating, and its suggestions for the prompts."""
    chosen = config.evaluation
    names = {
        "sample_stars", "samples_per_star", "temperature", "top_k", "top_p", "max_tokens", "prompts", "suggestions", "seed",
    }

    def make(work: Path) -> dict[str, Any]:
        bundle = load_bundle(bundle_folder, device_of(config))
        how = {name: getattr(chosen, name) for name in ("temperature", "top_k", "top_p", "max_tokens", "seed")}
        rows = [
            {"stars": stars, "number": number, "text": text, "seed": chosen.seed}
            for stars in chosen.sample_stars
            for number, text in enumerate(generate(bundle, chosen.samples_per_star, stars, **how))
        ]
        pl.DataFrame(rows).write_parquet(work / SAMPLES_FILE)
        words = [
            {"prompt": prompt, "word": word, "probability": probability}
            for prompt in chosen.prompts
            for word, probability in suggest(bundle, prompt, chosen.suggestions).words
        ]
        schema = {"prompt": pl.String, "word": pl.String, "probability": pl.Float64}
        pl.DataFrame(words, schema=schema).write_parquet(work / SUGGESTIONS_FILE)
        return {"samples": len(rows), "suggestions": len(words)}

    options = chosen.model_dump(mode="json", include=names)
    return run_stage(config, "samples", SAMPLES_VERSION, options, {"bundle": bundle_digest(bundle_folder)}, make)


def scores_of(artifact: Artifact) -> pl.DataFrame:
    """Return the rows of a score artifact: one per review."""
    return pl.read_parquet(artifact.folder / SCORES_FILE)


def figures_of_artifact(artifact: Artifact) -> Figures:
    """Return the figures of a score artifact, added up from its rows."""
    labels = {name: artifact.facts[name] for name in ("unit", "vocabulary", "boundary")}
    return figures_of(scores_of(artifact), **labels)


def _log_figures(run: ModelRun, test: Artifact, validation: Artifact, samples: Artifact) -> None:
    """Write test and validation figures, per-star slices and samples to the model's MLflow run."""
    for split, artifact in (("test", test), ("validation", validation)):
        numbers = {name: value for name, value in artifact.facts.items() if isinstance(value, int | float)}
        run.tracker.log_metrics(run.run_id, {f"{split}/{name}": value for name, value in numbers.items()})
    stars = star_slices(scores_of(test), figures_of_artifact(test))
    run.tracker.log_table(run.run_id, stars, "per_star.json")
    run.tracker.log_metrics(
        run.run_id, {f"test/stars_{row['stars']}/open_bits_per_byte": row["open_bits_per_byte"] for row in stars.to_dicts()}
    )
    run.tracker.log_text(run.run_id, (test.folder / FIGURES_FILE).read_text(encoding="utf-8"), "policies.json")
    for file in (SAMPLES_FILE, SUGGESTIONS_FILE):
        run.tracker.log_table(run.run_id, pl.read_parquet(samples.folder / file), Path(file).with_suffix(".json").name)


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
    _log_documents(config, prepared, parent_run_id)
    shown = table.select(column for column in TABLE_COLUMNS if column in table.columns)
    show_table("models", shown.to_dicts(), f"Test reviews, best first. MLflow: {tracker.link(parent_run_id)}")
    for model in measured:
        samples = pl.read_parquet(model.samples.folder / SAMPLES_FILE).to_dicts()
        text = "\n\n".join(f"**{row['stars']} stars**\n\n> {row['text']}".replace("\n\n>", "\n\n>") for row in samples)
        show_markdown(f"samples-{model.name}", text, f"Reviews written by {model.name}")
    return Evaluated(tuple(measured), found)


def table_of(config: RunConfig, measured: list[Measured] | tuple[Measured, ...]) -> pl.DataFrame:
    """Return the comparison table on the test split, best first."""
    figures = {model.name: figures_of_artifact(model.test) for model in measured}
    kinds = {model.name: model.fitted.spec.kind for model in measured}
    return comparison_table(figures, kinds, config.baseline)


def estimate_floor(config: RunConfig, prepared: Prepared) -> Built:
    """Return what the test reviews cost the grammar that wrote them; empty facts where it has not written them."""

    def make(work: Path) -> dict[str, Any]:
        reviews = pl.concat([batch.select("text", "stars", "bytes") for batch in iter_split(prepared.clean.folder, "test")])
        floor = floor_of(reviews)
        facts = {} if floor is None else floor.to_dict()
        (work / "floor.json").write_text(json.dumps(facts), encoding="utf-8")
        return facts

    return run_stage(config, "floor", FLOOR_VERSION, {}, {"clean": prepared.clean.digest}, make)


def _draw(
    config: RunConfig, measured: list[Measured], table: pl.DataFrame, floor: dict[str, Any] | None, run_id: str
) -> None:
    from evaluation.floor import Floor

    tracker = tracker_of(config)
    histories = {model.name: read_journal(model.fitted.artifact.folder / JOURNAL) for model in measured}
    line = Floor(**{name: floor[name] for name in ("reviews", "explained", "nats", "bytes")}) if floor else None
    slices = {model.name: star_slices(scores_of(model.test), figures_of_artifact(model.test)) for model in measured}
    tracker.log_figure(run_id, loss_curves(histories), "plots/loss_curves.png")
    tracker.log_figure(run_id, perplexity_bars(table, line, config.baseline), "plots/perplexity_by_model.png")
    tracker.log_figure(run_id, star_bars(slices), "plots/bits_per_byte_by_stars.png")


def _log_documents(config: RunConfig, prepared: Prepared, run_id: str) -> None:
    """Copy the Data Docs of the checks into the run, and say what they found."""
    tracker = tracker_of(config)
    for artifact in prepared.checks:
        report = read_report(artifact)
        tracker.log_folder(run_id, artifact.folder / "docs", f"data_docs/{artifact.manifest['options']['label']}")
        tracker.set_tags(run_id, {f"checks.{artifact.manifest['options']['label']}": "passed" if report.passed else "failed"})
