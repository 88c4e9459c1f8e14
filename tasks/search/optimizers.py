"""Run the learning-rate range test and the comparison of optimisers on a configuration's data and model.

Neither is a stage: they do not change the store, no fit depends on them, and their results go to a folder that the user
names.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from core.config.run_config import RunConfig
from core.errors import ANOTHER_PLACE, ArtifactError, disk_errors
from core.model_errors import converted_errors
from core.provenance import git_commit
from evaluation.plots.optimizers import range_test
from evaluation.reports.optimizer_report import (
    comparison_as_json,
    comparison_figures,
    optimizer_table,
    rates_as_json,
    write_comparison,
    write_rates,
    write_trials,
)
from models.base import FitContext
from models.specs import NPLMSpec, RecurrentSpec
from models.streams import TokenStream
from models.tokens.vocabulary import Vocabulary
from tasks.data.prepare import VOCABULARY_FILE, Prepared
from tasks.embedding.start import start_vectors
from tasks.fitting.fit import device_of, threads_of
from tasks.gpus import gpu_slot, on_gpu
from tasks.progress import progress
from tasks.stage import show_markdown, show_table, stage
from tasks.tracking.track import tracker_of
from tracking.runs.runs import run_tags
from tracking.tags import KIND

if TYPE_CHECKING:
    from models.neural.optimization.comparison import OptimizerComparison
    from models.neural.optimization.rate_finder import RateSweep

NAME, RANGE_TEST = "optimizers", "lr-find"
log = logging.getLogger(__name__)


@stage("lr-find", run_name="lr-find {spec.name}")
def find_learning_rate(
    config: RunConfig, spec: RecurrentSpec | NPLMSpec, prepared: Prepared, out: Path,
    lowest: float | None, highest: float | None, updates: int, track: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Run a learning-rate range test of a model; write `lr_find.json` and `lr_find.png`, and return the result.

    With *track*, also log an MLflow run.
    """
    from models.neural.optimization.rate_finder import find_rate

    stream = TokenStream.open(Path(prepared.tokens[spec.vocabulary]["train"].path))
    vectors = start_vectors(config, spec, prepared)
    loss = "nats" if spec.objective.estimator == "exact" else "estimator loss"
    with (
        gpu_slot(device_of(config), here=True) as gpus,
        progress(f"lr-find {spec.name}", updates, "updates") as report,
        converted_errors(spec.name),
    ):
        sweep = find_rate(
            spec, stream, lowest, highest, updates, on_gpu(device_of(config), gpus), threads_of(config),
            lambda done, value: report(done, {loss: value}), vectors.folder if vectors else None,
        )  # fmt: skip
    used = spec.training.learning_rate
    found = {name: value for name, value in rates_as_json(sweep).items() if not isinstance(value, tuple)}
    place = [one.name for one in config.models].index(spec.name)
    setting = f"models.{place}.training.learning_rate"
    facts = {**found, "learning_rate": used, "updates": len(sweep.rates), "setting": setting}
    show_markdown(f"lr-find-{spec.name}", "\n".join(f"- {name}: {value}" for name, value in facts.items()))
    result = {"model": spec.name, "optimizer": spec.training.optimizer, **facts}
    with _files_in(out, result):
        files = write_rates(sweep, out, f"{spec.name}, {spec.training.optimizer}", used)
    result["files"] = [str(path) for path in files]
    return {**result, "mlflow_run_id": track_rates(config, spec, sweep)} if track else result


@stage("optimizers")
def compare_optimizers(
    config: RunConfig, spec: RecurrentSpec | NPLMSpec, prepared: Prepared, out: Path,
    rates: Mapping[str, Sequence[float] | None] | None, tokens: int, epochs: float, track: bool,
) -> dict[str, Any]:  # fmt: skip
    """Fit one model with several optimisers; write table, JSON and plots; return the comparison and the file paths.

    Table and JSON are written after every trial, so that an interrupt loses no finished trial. *rates* has the learning
    rates to try by optimiser; None for one optimiser: the rate of a range test; None for *rates*: every optimiser at
    its usual rates.
    """
    from models.neural.optimization.comparison import GRID, compare, first_reviews

    chosen: Mapping[Any, Sequence[float] | None] = GRID if rates is None else rates
    streams = prepared.tokens[spec.vocabulary]
    train, validation = (TokenStream.open(Path(streams[split].path)) for split in ("train", "validation"))
    some, vectors = first_reviews(train, tokens), start_vectors(config, spec, prepared)
    trials = sum(len(wanted or "1") for wanted in chosen.values())
    with tempfile.TemporaryDirectory() as work, converted_errors(spec.name):
        vocabulary = Vocabulary.load(Path(prepared.vocabularies[spec.vocabulary].path) / VOCABULARY_FILE)
        with gpu_slot(device_of(config), here=True) as gpus, progress(NAME, trials, "trials") as report:

            def tell(so_far: OptimizerComparison) -> None:
                trial = so_far.trials[-1]
                if trial.failure:
                    log.warning("%-16s failed: %s", trial.optimizer, trial.failure)
                else:
                    log.info("%-16s rate %-8g %.4f nats on validation", trial.optimizer, trial.rate, trial.final)
                report(len(so_far.trials), {"nats": trial.final})
                with _files_in(out, comparison_as_json(so_far)):
                    write_trials(so_far, out)

            context = FitContext(
                Path(work), on_gpu(device_of(config), gpus), threads_of(config),
                vectors=vectors.folder if vectors else None,
            )  # fmt: skip
            found = compare(spec, vocabulary, some, validation, context, epochs, chosen, tell)
    show_table(NAME, optimizer_table(found), f"Optimisers on {spec.name}")
    result = {"model": spec.name, **comparison_as_json(found)}
    with _files_in(out, result):
        files = write_comparison(found, out)
    result["files"] = [str(path) for path in files]
    return {**result, "mlflow_run_id": track_comparison(config, spec, found)} if track else result


@contextmanager
def _files_in(out: Path, found: Mapping[str, Any]) -> Iterator[None]:
    """Convert disk errors into the project's errors, and then log *found*, which exists in no file."""
    try:
        with disk_errors(out, ANOTHER_PLACE):
            yield
    except ArtifactError:
        log.warning("the result could not be written: %s", json.dumps(found))
        raise


def track_rates(config: RunConfig, spec: RecurrentSpec | NPLMSpec, sweep: RateSweep) -> str:
    """Log a range test to MLflow (losses by update, suggested rate, plot) and return the run's id."""
    tracker = tracker_of(config)
    run = tracker.start_run(f"{RANGE_TEST} {spec.name}", {**run_tags(git_commit=git_commit()),
                                                        KIND: RANGE_TEST})  # fmt: skip
    ends = {"lowest": sweep.rates[0], "highest_reached": sweep.rates[-1]}
    tracker.log_params(run, {"model": spec.name, "optimizer": spec.training.optimizer, **ends})
    loss = "train/nats" if sweep.in_nats else "train/estimator_loss"
    points = enumerate(zip(sweep.rates, sweep.nats, strict=True), 1)
    curve = [point for step, (rate, value) in points for point in (("rate", rate, step), (loss, value, step))]
    tracker.log_curves(run, curve)
    read = {"suggestion": sweep.suggestion, "steepest": sweep.steepest, "diverged": sweep.diverged}
    tracker.log_metrics(run, {name: rate for name, rate in read.items() if rate is not None})
    title = f"{spec.name}, {spec.training.optimizer}"
    tracker.log_figure(run, range_test(sweep, title, spec.training.learning_rate), "plots/lr_find.png")
    tracker.log_text(run, json.dumps({"model": title, **rates_as_json(sweep)}), "lr_find.json")
    tracker.end_run(run)
    return run


def track_comparison(config: RunConfig, spec: RecurrentSpec | NPLMSpec, found: OptimizerComparison) -> str:
    """Log a comparison to MLflow (a parent run with table and plots, a child run per trial); return the parent's id."""
    tracker = tracker_of(config)
    kind = {KIND: NAME}
    parent = tracker.start_run(NAME, {**run_tags(git_commit=git_commit()), **kind})
    tracker.log_params(parent, {"model": spec.name, "hidden": spec.hidden, "embedding": spec.embedding,
                                "epochs": found.epochs, "train_tokens": found.train_tokens})  # fmt: skip
    for trial in found.trials:
        rate = f"{trial.rate:g}" if isfinite(trial.rate) else "no rate found"
        run = tracker.start_run(f"{trial.optimizer} {rate}", kind, parent)
        tracker.log_params(run, {"optimizer": trial.optimizer, "learning_rate": rate})
        curve = zip(trial.nats, trial.tokens, strict=True)
        tracker.log_curves(run, [("validation/nats", nats, step) for nats, step in curve])
        counted = {"updates": trial.updates, "seconds": trial.seconds, "divergences": trial.divergences}
        tracker.log_metrics(run, counted)
        tracker.end_run(run, "FAILED" if trial.diverged or trial.failure else "FINISHED")
    tracker.log_table(parent, pl.DataFrame(optimizer_table(found), infer_schema_length=None), f"{NAME}.json")
    for name, figure in comparison_figures(found).items():
        tracker.log_figure(parent, figure, f"plots/{name}.png")
    tracker.log_text(parent, json.dumps(comparison_as_json(found)), "comparison.json")
    tracker.end_run(parent)
    return parent


def of_size(spec: RecurrentSpec | NPLMSpec, size: int) -> RecurrentSpec | NPLMSpec:
    """Return the model with one layer of *size* hidden units and an embedding of that size; 0: the model unchanged.

    The small model has no word vectors, which have a size of their own.
    """
    if not size:
        return spec
    small: dict[str, Any] = {"hidden": size, "embedding": size, "vectors": "", "freeze_vectors": False}
    if isinstance(spec, RecurrentSpec):
        small["layers"] = 1
    return replace(spec, **small)
