"""Search the options of one model: plan the sweep, fit its trials and the best one again, and summarise it.

Trials are those of an Optuna study in a SQLite file, which survives kill -9; its journal file would not: where a kill
cuts a line short, the next line makes it unreadable. One process works on a study at a time, so a trial that still runs
when the study is opened was interrupted; its fit continues from its checkpoint.

The sampler is the tree-structured Parzen estimator (Bergstra et al. 2011; Watanabe 2023), seeded for each trial by its
number. So a sweep with one worker that is killed and resumed draws the same trials as an undisturbed one.

Each fit is one of the pipeline's: it is in the store, so `reviewlm run` with the winner's options takes the bundle from
there. MLflow gets a run for each fit once it has ended, with its options and curves, without a logged model.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import optuna
import polars as pl
from filelock import FileLock
from optuna.exceptions import StorageInternalError
from optuna.study import Study as Study
from optuna.trial import FrozenTrial, TrialState
from prefect import State
from prefect.states import Completed
from sqlalchemy.exc import SQLAlchemyError

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.errors import ArtifactError, FitError, InputError, disk_errors
from reviewlm.core.manifest import hash_of
from reviewlm.core.output import fence_text
from reviewlm.core.sqlite_files import database_address
from reviewlm.core.store import DIGEST_LENGTH
from reviewlm.models.base import journal_lines, perplexity
from reviewlm.models.specs import NPLMSpec, RecurrentSpec, identity
from reviewlm.tasks.data.prepare import Prepared
from reviewlm.tasks.embed import start_vectors
from reviewlm.tasks.execution.stage import show_markdown, show_table, stage_task
from reviewlm.tasks.fitting.fit import EnoughSeen, FitSettings, fit_version, plan_fit
from reviewlm.tasks.fitting.fit_process import is_interrupted
from reviewlm.tasks.fitting.search_space import (
    Space,
    chosen_model,
    parse_space,
    to_write,
    with_options,
)
from reviewlm.tasks.fitting.warm_start import champion_digest
from reviewlm.tasks.records.track import JOURNAL, parameters_of, prefect_tags, tracker_of
from reviewlm.tracking.tags import NOTE, START_TAG, SWEEP_STATE, SWEEP_TRIAL, SWEEP_WINNER

DATABASE = "study.db"
RUN = "run"
REASON = "reason"
FACTS = "facts"
"""Attributes of a trial: its MLflow run, why it has no loss, the summary of its fit."""
STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
IMPORTANCE_TRIALS = 4
"""Minimum number of complete trials with different losses for computing importances."""
optuna.logging.set_verbosity(optuna.logging.ERROR)  # a resumed fit reports its evaluations again
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SweepPlan:
    """Plan of a sweep: the model and its search space.

    Args:
        base: The model; options that are not searched keep its values.
        space: Distribution of each searched option, by its full name.
        config: The run's configuration with only this model, so that only its inputs are prepared.
    """

    base: RecurrentSpec | NPLMSpec
    index: int
    space: Space
    config: RunConfig

    @property
    def seeds(self) -> list[int]:
        """Seeds for the best trial, different from the seed of the search."""
        return [self.base.training.seed + 1 + number for number in range(self.config.sweep.seeds)]


def plan_sweep(config: RunConfig) -> SweepPlan:
    """Check a sweep before any work; errors as for `chosen_model` and `parse_space`."""
    index, base = chosen_model(config.models, config.sweep.model)
    alone = config.model_copy(update={"models": (base,), "baseline": base.name})
    return SweepPlan(base, index, parse_space(base, config.sweep.space), alone)


@contextmanager
def study_in(folder: Path, plan: SweepPlan) -> Iterator[Study]:
    """Open the study of a folder: a new one, or that of an earlier run; another process that works on it is waited for.

    Raises:
        ArtifactError: The study of an earlier run cannot be opened, or be read and written in the block.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)

    chosen = plan.config.sweep
    storage = database_address(folder.absolute() / DATABASE)
    pruner = optuna.pruners.MedianPruner(chosen.random_trials, n_warmup_steps=chosen.prune_after)
    with FileLock(folder / "study.lock"):
        try:
            try:
                study = optuna.create_study(
                    storage=storage,
                    study_name="sweep",
                    load_if_exists=True,
                    pruner=pruner,
                )
            except RuntimeError as error:  # it was made by another version of Optuna
                raise _unusable(folder, error) from error
            yield study
        except (SQLAlchemyError, StorageInternalError) as error:
            raise _unusable(folder, error) from error


def _unusable(folder: Path, error: Exception) -> ArtifactError:
    return ArtifactError(
        "The study of a sweep cannot be used",
        where=folder / DATABASE,
        cause=str(error.__cause__ or error).splitlines()[0],
        remedy="check the disk and run the command again: it continues where it stopped; a damaged study: move the "
        "folder away, and what was fitted is taken from the store",
    )


def study_folder(plan: SweepPlan, prepared: Prepared) -> Path:
    """Return the folder of the study of this model, search space, data and champion.

    The number of trials and of seeds may change between runs of one study. So may the model's own values of the
    searched options, e.g. to the best values so far. The order of the options in the space identifies the study too,
    because the sampler draws in that order.
    """
    options = identity(plan.base)
    for name in plan.space:
        section, _, option = name.rpartition(".")
        place = options[section] if section else options
        place.pop(option, None)

    vectors = start_vectors(plan.config.workspace, plan.config.vectors, plan.base, prepared)
    streams = prepared.tokens[plan.base.vocabulary]
    space = [[name, str(distribution)] for name, distribution in plan.space.items()]
    search = plan.config.sweep.model_dump(include={"random_trials", "prune_after", "seed"})
    champion = champion_digest(plan.config.workspace, plan.config.promotion, plan.base)
    about: dict[str, Any] = {
        "fit": fit_version(plan.base),
        "model": options,
        "champion": champion,
    }
    about["tokens"] = {split: stream.digest for split, stream in streams.items()}
    about["space"] = space
    about["search"] = search
    about["vectors"] = vectors.digest if vectors else None
    return plan.config.home / "sweeps" / hash_of(about)[:DIGEST_LENGTH]


def trials_to_fit(plan: SweepPlan, study: Study) -> Iterator[optuna.Trial]:
    """Yield the trials that are still to be fitted: interrupted ones, then new ones up to the wanted number."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        if trial.params.keys() == plan.space.keys():
            yield optuna.Trial(study, trial._trial_id)
        else:
            # It was interrupted before all values were drawn, so it does not count.
            study.tell(trial.number, state=TrialState.FAIL)

    chosen = plan.config.sweep
    options = plan.space.keys()
    while True:
        number = sum(trial.params.keys() == options for trial in study.trials)
        if number >= chosen.trials:
            return
        seed = int(np.random.SeedSequence([chosen.seed, number]).generate_state(1)[0])
        study.sampler = optuna.samplers.TPESampler(n_startup_trials=chosen.random_trials, seed=seed)
        yield study.ask(plan.space)


@stage_task("trial", run_name="trial {trial.number}")
def run_trial(
    plan: SweepPlan,
    prepared: Prepared,
    study: Study,
    trial: optuna.Trial,
    parent_run_id: str,
) -> State[None]:
    """Fit one trial; a fit that fails or is pruned ends the trial, not the sweep.

    Raises:
        ReviewLMError: An error that concerns every trial, e.g. a full disk; a rerun repeats this trial.
    """
    fit = _fit_trial(
        plan,
        prepared,
        trial.params,
        f"trial {trial.number}",
        parent_run_id,
        trial,
    )
    trial.set_user_attr(RUN, fit.run_id)
    trial.set_user_attr(REASON, fit.reason)
    trial.set_user_attr(FACTS, dict(fit.facts))
    study.tell(trial, fit.facts.get("validation_nats"), fit.state)
    # If it failed, the trial did, not the task.
    return Completed(name=STATES[fit.state].capitalize(), message=fit.reason)


@stage_task("seed", run_name="seed {seed}")
def run_seed(
    plan: SweepPlan,
    prepared: Prepared,
    study: Study,
    trial: FrozenTrial,
    seed: int,
    parent_run_id: str,
) -> float | None:
    """Fit a trial's options with another seed; return the validation loss in nats per token, None if the fit failed."""
    name = f"trial {trial.number} seed {seed}"
    if name not in study.user_attrs:
        values = {**trial.params, "training.seed": seed}
        fit = _fit_trial(
            plan,
            prepared,
            values,
            name,
            parent_run_id,
        )
        if fit.state != TrialState.COMPLETE:
            return None
        study.set_user_attr(name, fit.facts["validation_nats"])
    return float(study.user_attrs[name])


@dataclass(frozen=True)
class _Fit:
    """How a fit of a sweep ended, why if not as planned, the summary of a complete one, and its MLflow run."""

    state: TrialState
    reason: str
    facts: Mapping[str, float]
    run_id: str


def _fit_trial(
    plan: SweepPlan,
    prepared: Prepared,
    values: Mapping[str, Any],
    name: str,
    parent_run_id: str,
    trial: optuna.Trial | None = None,
) -> _Fit:
    """Fit a model, which *trial* may prune, and log it as a child of the sweep's MLflow run."""
    state = TrialState.COMPLETE
    reason = ""
    facts: dict[str, float] = {}
    options = {}
    fit = None
    journal = None
    watch = _Watch(trial, plan.base.training.evaluations) if trial else lambda journal: None

    try:
        settings = FitSettings.of(plan.config)
        fit = plan_fit(settings, with_options(plan.base, values), prepared)
        options = parameters_of(
            plan.config.vocabulary,
            plan.config.clean,
            plan.config.split,
            fit.spec,
            prepared,
        )
        artifact = fit.build(watch).artifact
        journal = artifact.folder / JOURNAL
        watch(journal)
        facts = artifact.facts["summary"]
    except EnoughSeen as seen:
        state = TrialState.PRUNED
        reason = str(seen)
    except (FitError, InputError) as error:
        if is_interrupted():
            raise
        state = TrialState.FAIL
        reason = f"{type(error).__name__}: {error.what}"

    tracker = tracker_of(plan.config.workspace)
    word = STATES[state]
    tags = {
        SWEEP_TRIAL: name,
        SWEEP_STATE: word,
        NOTE: f"{word.capitalize()}: {reason}"[:4000],
        **prefect_tags(),
    }
    if fit and fit.start.note:
        tags[START_TAG] = fit.start.note

    run_id = tracker.start_run(name, tags, parent_run_id)
    tracker.log_params(run_id, {"sweep": dict(values), **options})
    if journal is not None:
        tracker.log_journal(run_id, journal, settled=False)

    tracker.log_metrics(run_id, {f"fit/{figure}": value for figure, value in facts.items()})
    tracker.end_run(run_id, "FAILED" if state == TrialState.FAIL else "FINISHED")
    log.info(
        "%s is %s: %s",
        name,
        word,
        reason or f"validation perplexity {facts['validation_perplexity']:.4g}",
    )
    return _Fit(state, reason, facts, run_id)


class _Watch:
    """Listener that reports a fit's validation losses to its trial, and stops the fit if the study prunes it."""

    def __init__(self, trial: optuna.Trial, evaluations: int) -> None:
        self.trial = trial
        self.evaluations = evaluations
        self.seen = 0

    def __call__(self, journal: Path) -> None:
        """Report new evaluations of a running fit.

        Raises:
            EnoughSeen: The trial is pruned; the last evaluation prunes none. Only losses decide, so that a fit which
                ended before it was looked at is pruned too.
        """
        lines = journal_lines(journal)
        losses = [line["validation/nats"] for line in lines if "validation/nats" in line]
        for nats in losses[self.seen :]:
            self.seen += 1
            self.trial.report(nats, self.seen)
            if self.seen < self.evaluations and self.trial.should_prune():
                when = f"at evaluation {self.seen} of {self.evaluations}"
                raise EnoughSeen(f"{when}, validation {nats:.4f} nats")


def best_trial(study: Study) -> FrozenTrial:
    """Return the complete trial with the lowest validation loss.

    Raises:
        FitError: No trial finished.
    """
    if not any(trial.state == TrialState.COMPLETE for trial in study.trials):
        given = [trial.user_attrs.get(REASON) for trial in study.trials]
        reasons = [reason for reason in given if reason]
        raise FitError(
            f"None of the {len(study.trials)} trials of the sweep finished",
            cause="; ".join(reasons[:3]),
            remedy="narrow the space, above all training.learning_rate; a rerun with more trials continues from these",
        )

    return study.best_trial


@stage_task("summarise sweep")
def summarise_sweep(
    plan: SweepPlan,
    study: Study,
    losses: Sequence[float | None],
    parent_run_id: str,
) -> dict[str, Any]:
    """Log plots and tables to the sweep's MLflow run, and return the result of the sweep.

    Args:
        losses: Validation loss (nats per token) of the best trial's options with each fresh seed; None: it failed.
    """
    best = best_trial(study)
    tracker = tracker_of(plan.config.workspace)
    rows = [trial_row(trial) for trial in study.trials]
    chosen = to_write(plan.base, best.params)
    lines = {name: json.dumps("none" if value is None else value) for name, value in chosen.items()}
    toml = "\n".join(f"{name} = {value}" for name, value in lines.items())
    winner = {"trial": best.number, "values": best.params}
    winner["mlflow_run_id"] = best.user_attrs.get(RUN, "")
    winner["search_perplexity"] = perplexity(best.value or 0.0)
    winner |= fresh_figures(losses, plan.config.evaluation.confidence)
    result: dict[str, Any] = {"mlflow_run_id": parent_run_id, "model": plan.base.name}
    result["trials"] = rows
    result["importances"] = importances(plan, study)
    result["winner"] = winner
    result["toml"] = toml
    result["overrides"] = [f"models.{plan.index}.{name}={value}" for name, value in lines.items()]
    for name, figure in _figures(plan, study):
        tracker.log_figure(parent_run_id, figure, f"plots/{name}.png")

    tracker.log_table(parent_run_id, pl.DataFrame(rows, infer_schema_length=None), "trials.json")
    tracker.log_text(parent_run_id, json.dumps(result, indent=2), "sweep.json")
    for trial in study.trials:
        if trial.state == TrialState.COMPLETE:
            loss = {"trial/validation_nats": trial.values[0]}
            tracker.log_metrics(parent_run_id, loss, trial.number)

    numbers: dict[str, float] = {}
    for name, value in winner.items():
        if isinstance(value, float):
            numbers[f"winner/{name}"] = value

    tracker.log_metrics(parent_run_id, numbers)
    note = f"Winner: trial {best.number}\n\n{fence_text(toml, 'toml')}"
    tracker.set_tags(parent_run_id, {SWEEP_WINNER: f"trial {best.number}", NOTE: note})
    show_table("sweep", rows, f"Trials. MLflow: {tracker.link(parent_run_id)}")
    show_markdown("sweep-winner", note, "Winner")
    return result


def fresh_figures(losses: Sequence[float | None], confidence: float) -> dict[str, Any]:
    """Return perplexity and interval by Student's t (1908) over seeds that the search has not used."""
    ended = [loss for loss in losses if loss is not None]
    figures: dict[str, Any] = {
        "seeds": len(ended),
        "seeds_failed": len(losses) - len(ended),
        "confidence": confidence,
    }
    if ended:
        figures["perplexity"] = perplexity(fmean(ended))

    if len(ended) > 1:
        from scipy import stats  # a sweep alone waits for this import

        low, high = stats.t.interval(confidence, len(ended) - 1, fmean(ended), stats.sem(ended))
        figures["low"] = perplexity(float(low))
        figures["high"] = perplexity(float(high))

    return figures


def trial_row(trial: FrozenTrial) -> dict[str, Any]:
    """Return a trial as a flat table row."""
    facts = trial.user_attrs.get(FACTS, {})
    final = None
    if trial.state == TrialState.COMPLETE and trial.value:
        final = perplexity(trial.value)
    reached = None
    if trial.intermediate_values:
        reached = perplexity(min(trial.intermediate_values.values()))
    row = {"trial": trial.number, "state": STATES[trial.state]}
    row |= {"perplexity": final, "reached": reached}
    row |= {name: facts.get(name) for name in ("tokens", "seconds")}
    row |= trial.params
    row["reason"] = trial.user_attrs.get(REASON, "")
    row["mlflow_run_id"] = trial.user_attrs.get(RUN, "")
    return row


def importances(plan: SweepPlan, study: Study) -> dict[str, float]:
    """Return each option's share of the variance of the loss, by fANOVA (Hutter, Hoos & Leyton-Brown 2014).

    Empty if the complete trials have fewer than `IMPORTANCE_TRIALS` different losses.
    """
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    losses = {trial.value for trial in complete}
    if len(losses) < IMPORTANCE_TRIALS:
        return {}

    # It imports scikit-learn.
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    evaluator = FanovaImportanceEvaluator(seed=plan.config.sweep.seed)
    return get_param_importances(study, evaluator=evaluator, params=list(plan.space))


def _figures(plan: SweepPlan, study: Study) -> Iterator[tuple[str, Any]]:
    """Yield Optuna's pictures with their names: the history, and each option's values."""
    import matplotlib
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as plots

    matplotlib.use("Agg")
    shown: dict[str, Any] = {
        "target": lambda trial: perplexity(trial.value or 0.0),
        "target_name": "validation perplexity",
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental; one value has no range
        pictures = {"history": plots.plot_optimization_history, "slices": plots.plot_slice}
        for name, plot in pictures.items():
            axes: Any = plot(study, **shown)  # type: ignore[operator]
            figure = np.atleast_1d(axes).flat[0].figure
            pyplot.close(figure)
            yield f"sweep_{name}", figure
