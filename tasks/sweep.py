"""Search the options of one model: plan the sweep, fit its trials and finalists, and summarise the winner.

Each fit is one of the pipeline's: it is in the store, so `reviewlm run` with the winner's options takes the bundle from
there. MLflow gets a run for each fit once it has ended, with its options and curves, without a logged model.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import optuna
import polars as pl
from optuna.trial import FrozenTrial, TrialState
from prefect import State
from prefect.states import Completed

from core.config.run_config import RunConfig
from core.config.search_space import (
    Dimension,
    Value,
    chosen_model,
    parse_space,
    to_write,
    with_only,
    with_options,
)
from core.config.sections.sweep import SweepConfig
from core.errors import FitError, InputError
from core.output import fenced
from core.store import DIGEST_LENGTH, canonical
from evaluation.reports.run_results import journal_lines
from models.perplexity import perplexity
from models.specs import ModelSpec, NPLMSpec, RecurrentSpec, identity
from tasks.data.prepare import Prepared
from tasks.fitting.fit import EnoughSeen, FitPlan, build_fit, fit_version, plan_fit
from tasks.fitting.fit_process import interrupted
from tasks.fitting.warm_start import champion_digest
from tasks.stage import show_markdown, show_table, stage
from tasks.start_vectors import start_vectors
from tasks.sweep_study import FACTS, NUMBER, REASON, RUN, Study, opened_study
from tasks.track import JOURNAL, parameters_of, prefect_tags, tracker_of
from tracking.registry.change import ChampionChanged
from tracking.tags import NOTE, START_TAG, SWEEP_BEST, SWEEP_STATE, SWEEP_TRIAL, SWEEP_WINNER

CHAMPION = "champion"
"""Name of the study's note with the digest of the champion that its fits start from."""
STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SweepPlan:
    """Plan of a sweep: the model and its search space.

    Args:
        base: The model; options that are not searched keep its values.
        index: Position of the model in the configuration.
        dimensions: Search space, by the option's full name.
        config: The run's configuration with only this model.
    """

    base: RecurrentSpec | NPLMSpec
    index: int
    dimensions: dict[str, Dimension]
    config: RunConfig

    @property
    def seeds(self) -> list[int]:
        """Seeds for the finalists, different from the seed of the search."""
        return [self.base.training.seed + 1 + number for number in range(self.config.sweep.seeds)]


@dataclass(frozen=True)
class Finalist:
    """One of the best trials, with its losses under seeds that the search has not used.

    Args:
        trial: The trial after the search.
        losses: Validation loss (nats per token) of each seed that finished.
        failed: Number of seeds that failed.
        interval: Interval of the mean loss by Student's t (1908); None for fewer than two losses.
    """

    trial: FrozenTrial
    losses: tuple[float, ...]
    failed: int
    interval: tuple[float, float] | None
    confidence: float

    @property
    def rank(self) -> tuple[int, float, int]:
        """Sort key of finalists, best first: fewest failed seeds, then lowest mean loss.

        Options that fail under some seeds are unreliable, however low the other losses are. The trial's own loss has a
        selection bias and counts only if no seed finished.
        """
        return self.failed, fmean(self.losses) if self.losses else nats_of(self.trial), number_of(self.trial)


def plan_sweep(config: RunConfig) -> SweepPlan:
    """Check a sweep before any work, and warn if no trial can be pruned."""
    index, base = chosen_model(config, config.sweep.model, "sweep.model")
    dimensions = parse_space(base, config.sweep.space)
    if reason := inert_pruning(config.sweep, base.training.evaluations):
        log.warning("no trial of '%s' will be pruned: %s", base.name, reason)
    return SweepPlan(base, index, dimensions, with_only(config, base))


def inert_pruning(options: SweepConfig, evaluations: int) -> str:
    """Return why the pruner of a sweep can never prune a trial; "" if it can.

    Args:
        evaluations: Number of evaluations of each fit.
    """
    if evaluations <= options.prune_after:
        return (
            f"a fit has {evaluations} evaluations; the last one cannot prune, and the first that can is number "
            f"{options.prune_after}; set training.evaluations above sweep.prune_after"
        )
    if options.trials <= options.random_trials:
        return (
            f"the median pruner needs {options.random_trials} finished trials (sweep.random_trials), but sweep.trials "
            f"is {options.trials}"
        )
    return ""


def number_of(trial: FrozenTrial) -> int:
    """Return the number of a trial: its position in the order of asking, from 0."""
    return int(trial.user_attrs[NUMBER])


def nats_of(trial: FrozenTrial) -> float:
    """Return the validation loss of a trial (nats per token); infinity for one that is not complete."""
    return float("inf") if trial.state != TrialState.COMPLETE or trial.value is None else trial.value


def study_of(plan: SweepPlan, prepared: Prepared) -> AbstractContextManager[Study]:
    """Open the study of this model, search space, data and champion: a new one, or that of an earlier run.

    The number of trials and the options of the finals may change between runs of one study. So may the model's own
    values of the searched options, e.g. to the best values so far. The order of the options in the space identifies the
    study too, because the sampler draws in that order.

    Raises:
        ArtifactError: The study of an earlier run cannot be opened.
    """
    options, champion = plan.config.sweep, champion_digest(plan.config, plan.base)
    tokens = {split: artifact.digest for split, artifact in prepared.tokens[plan.base.vocabulary].items()}
    about = {
        "fit": fit_version(plan.base), "model": _not_searched(plan), "tokens": tokens, "champion": champion,
        "space": [[name, asdict(dimension)] for name, dimension in plan.dimensions.items()],
        "search": options.model_dump(include={"random_trials", "prune_after", "seed"}),
    }
    if (vectors := start_vectors(plan.config, plan.base, prepared)) is not None:
        about["vectors"] = vectors.digest
    digest = hashlib.sha256(canonical(about).encode()).hexdigest()[:DIGEST_LENGTH]
    return opened_study(plan.config.home / "sweeps" / digest, options, plan.dimensions)


def _not_searched(plan: SweepPlan) -> dict[str, Any]:
    """Return the model's identity without the searched options."""
    options = identity(plan.base)
    for name in plan.dimensions:
        section, _, option = name.rpartition(".")
        (options[section] if section else options).pop(option, None)
    return options


@stage("trial", run_name="trial {number}")
def run_trial(
    plan: SweepPlan, prepared: Prepared, study: Study, trial: optuna.Trial, number: int, parent_run_id: str
) -> State[None]:
    """Fit one trial; a fit that fails or is pruned ends the trial, not the sweep.

    Raises:
        ReviewLMError: An error that concerns every trial, e.g. a full disk; a rerun repeats this trial.
    """
    values, fit = dict(trial.params), None
    try:
        spec = with_options(plan.base, values)
    except ValueError as error:
        ended = _Ended(TrialState.FAIL, f"the options cannot be combined: {error}")
    else:
        fit = _planned(plan, prepared, study, spec)
        ended = _fit_trial(plan, fit, prepared, trial)
    trial.set_user_attr(RUN, _log_fit(plan, prepared, fit, f"trial {number}", values, ended, parent_run_id))
    study.tell(trial, ended.state, ended.reason, ended.facts)
    figure = ended.reason or f"validation perplexity {ended.facts['validation_perplexity']:.4g}"
    log.info("trial %d is %s: %s", number, STATES[ended.state], figure)
    return Completed(name=STATES[ended.state].capitalize(), message=ended.reason)  # the trial failed, not the task


@dataclass(frozen=True)
class _Ended:
    """How a fit of a sweep ended, why if not as planned, the summary and the journal of a complete one."""

    state: TrialState
    reason: str = ""
    facts: Mapping[str, float] = field(default_factory=dict)
    journal: Path | None = None


def _fit_trial(plan: SweepPlan, fit: FitPlan, prepared: Prepared, trial: optuna.Trial | None = None) -> _Ended:
    """Fit a model; with *trial*, report its validation losses there and let the study prune it."""
    watch = _Watch(trial, plan.base.training.evaluations) if trial is not None else None
    try:
        artifact = build_fit(plan.config, fit, prepared, watch or (lambda journal: None)).artifact
    except EnoughSeen as seen:
        return _Ended(TrialState.PRUNED, str(seen))
    except (FitError, InputError) as error:
        if interrupted():
            raise
        return _Ended(TrialState.FAIL, f"{type(error).__name__}: {error.what}")
    if watch is not None:
        watch.report(artifact.folder / JOURNAL)
    return _Ended(TrialState.COMPLETE, "", artifact.facts["summary"], artifact.folder / JOURNAL)


@stage("seed", run_name="trial {number} seed {seed}")
def run_seed(
    plan: SweepPlan, prepared: Prepared, study: Study, number: int, values: Mapping[str, Value], seed: int,
    parent_run_id: str,
) -> float | None:
    """Fit a trial's options with another seed; return the validation loss in nats per token, None if the fit failed."""
    name, values = f"trial {number} seed {seed}", {**values, "training.seed": seed}
    if loss := study.note(name):
        return float(loss)
    fit = _planned(plan, prepared, study, with_options(plan.base, values))
    ended = _fit_trial(plan, fit, prepared)
    _log_fit(plan, prepared, fit, name, values, ended, parent_run_id)
    if ended.state != TrialState.COMPLETE:
        log.warning("%s failed: %s", name, ended.reason)
        return None
    study.remember(name, repr(ended.facts["validation_nats"]))
    return float(ended.facts["validation_nats"])


def _planned(plan: SweepPlan, prepared: Prepared, study: Study, spec: ModelSpec) -> FitPlan:
    """Return the plan of a fit of a sweep.

    Raises:
        ChampionChanged: The sweep's trials started from another champion, so their losses cannot be compared with this
            fit's.
    """
    fit = plan_fit(plan.config, spec, prepared)
    if champion_digest(plan.config, spec) != study.note(CHAMPION):
        raise ChampionChanged(
            "The champion that the trials start from was replaced while the sweep was running", where=study.folder,
            remedy="run the command again: it starts a new study from the new champion",
        )
    return fit


def _log_fit(
    plan: SweepPlan, prepared: Prepared, fit: FitPlan | None, name: str, values: Mapping[str, Value], ended: _Ended,
    parent_run_id: str,
) -> str:
    """Log an ended fit as a child of the sweep's MLflow run, and return the id of its run."""
    tracker, state = tracker_of(plan.config), STATES[ended.state]
    tags = {SWEEP_TRIAL: name, SWEEP_STATE: state, **prefect_tags()}
    tags |= {NOTE: f"{state.capitalize()}: {ended.reason}"[:4000]} if ended.reason else {}
    tags |= {START_TAG: fit.start.note} if fit and fit.start.note else {}
    run_id = tracker.start_run(name, tags, parent_run_id)
    options = parameters_of(plan.config, fit.spec, prepared) if fit else {}
    tracker.log_params(run_id, {"sweep": dict(values), **options})
    if ended.journal is not None:
        tracker.log_journal(run_id, ended.journal, settled=False)
    tracker.log_metrics(run_id, {f"fit/{figure}": value for figure, value in ended.facts.items()})
    tracker.end_run(run_id, "FAILED" if ended.state == TrialState.FAIL else "FINISHED")
    return run_id


class _Watch:
    """Listener that reports a fit's validation losses to the study, and stops the fit if the study prunes it."""

    def __init__(self, trial: optuna.Trial, evaluations: int) -> None:
        self.trial, self.evaluations, self.seen = trial, evaluations, 0

    def __call__(self, journal: Path) -> None:
        """Report new evaluations of a running fit.

        Raises:
            EnoughSeen: The trial is pruned. It is never pruned at its last evaluation, because it is finished then.
        """
        for evaluation, nats in self.report(journal):
            if evaluation < self.evaluations and self.trial.should_prune():
                raise EnoughSeen(f"at evaluation {evaluation} of {self.evaluations}, validation {nats:.4f} nats")

    def report(self, journal: Path) -> list[tuple[int, float]]:
        """Report the evaluations in a journal that are new, and return their numbers and losses."""
        lines = journal_lines(journal) if journal.is_file() else []
        losses = [line["validation/nats"] for line in lines if "validation/nats" in line]
        new = list(enumerate(losses, start=1))[self.seen :]
        for evaluation, nats in new:
            self.trial.report(nats, evaluation)
        self.seen += len(new)
        return new


def finalists_of(plan: SweepPlan, study: Study) -> list[FrozenTrial]:
    """Return the best trials by validation loss; of trials with the same model only the first.

    Raises:
        FitError: No trial finished.
    """
    trials = study.trials()
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not complete:
        failed = [trial.user_attrs[REASON] for trial in trials if trial.state == TrialState.FAIL]
        raise FitError(
            f"None of the {len(trials)} trials of the sweep finished: {len(failed)} failed, "
            f"{len(trials) - len(failed)} pruned", where=study.folder, cause=next(iter(failed), ""),
            remedy="narrow the space, above all training.learning_rate; a rerun with more trials continues from these",
        )  # fmt: skip
    distinct: dict[str, FrozenTrial] = {}
    for trial in sorted(complete, key=lambda trial: (nats_of(trial), trial.number)):
        distinct.setdefault(canonical(identity(with_options(plan.base, trial.params))), trial)
    return list(distinct.values())[: plan.config.sweep.finalists]


def finalist(trial: FrozenTrial, losses: Sequence[float | None], confidence: float) -> Finalist:
    """Return a finalist with the confidence interval of *losses*, one loss per fresh seed; None: the seed failed."""
    ended = tuple(loss for loss in losses if loss is not None)
    interval = None
    if (seeds := len(ended)) > 1:
        from scipy.special import stdtrit  # Student's t quantile; `scipy.stats` takes twice as long to import

        half = float(stdtrit(seeds - 1, (1 + confidence) / 2)) * stdev(ended) / sqrt(seeds)
        interval = fmean(ended) - half, fmean(ended) + half
    return Finalist(trial, ended, len(losses) - len(ended), interval, confidence)


@stage("summarise sweep")
def summarise_sweep(plan: SweepPlan, study: Study, finalists: Sequence[Finalist], parent_run_id: str) -> dict[str, Any]:
    """Log plots and tables to the sweep's MLflow run, mark the best trial, and return the result of the sweep."""
    trials, winner = study.trials(), min(finalists, key=lambda one: one.rank)
    rows, chosen = [trial_row(trial) for trial in trials], to_write(plan.base, winner.trial.params)
    result = {
        "study": str(study.folder), "mlflow_run_id": parent_run_id, "model": plan.base.name, "trials": rows,
        "importances": study.importances(), "finalists": [_finalist_row(one) for one in finalists],
        "winner": {
            **_finalist_row(winner), "values": winner.trial.params,
            "mlflow_run_id": winner.trial.user_attrs.get(RUN, ""),
        },
        "overrides": overrides_of(plan.index, chosen), "toml": toml_of(chosen),
    }  # fmt: skip
    if winner.failed:
        log.warning(
            "trial %d wins though %d of its seeds failed: no finalist finished all of them",
            number_of(winner.trial), winner.failed,
        )  # fmt: skip
    _log(plan, study, result, parent_run_id)
    show_table("sweep", rows, f"Trials. MLflow: {tracker_of(plan.config).link(parent_run_id)}")
    show_markdown("sweep-winner", _note(result), "Winner")
    return result


def _log(plan: SweepPlan, study: Study, result: dict[str, Any], run_id: str) -> None:
    """Log the result, and mark the run of the best trial in place of that of an earlier, shorter search."""
    tracker, best, before = tracker_of(plan.config), result["winner"]["mlflow_run_id"], study.note(SWEEP_BEST)
    for name, figure in study.figures():
        tracker.log_figure(run_id, figure, f"plots/{name}.png")
    tracker.log_table(run_id, pl.DataFrame(result["trials"], infer_schema_length=None), "trials.json")
    tracker.log_text(run_id, result["toml"], "winner.toml")
    tracker.log_text(run_id, json.dumps(result, indent=2), "sweep.json")
    tracker.log_curves(run_id, [("trial/validation_nats", nats_of(one), number_of(one)) for one in study.trials()
                                if one.state == TrialState.COMPLETE])  # fmt: skip
    figures = {f"winner/{name}": value for name, value in result["winner"].items() if isinstance(value, float)}
    tracker.log_metrics(run_id, figures | {f"importance/{name}": one for name, one in result["importances"].items()})
    tracker.set_tags(run_id, {SWEEP_WINNER: f"trial {result['winner']['trial']}", NOTE: _note(result)})
    for run, is_best in {before: "false", best: "true"}.items():
        if run:
            tracker.set_tags(run, {SWEEP_BEST: is_best})
    study.remember(SWEEP_BEST, best)


def trial_row(trial: FrozenTrial) -> dict[str, Any]:
    """Return a trial as a flat table row."""
    facts, complete = trial.user_attrs.get(FACTS, {}), trial.state == TrialState.COMPLETE
    return {
        "trial": number_of(trial), "state": STATES[trial.state],
        "perplexity": perplexity(nats_of(trial)) if complete else None,
        "reached": _perplexity(min(trial.intermediate_values.values(), default=None)),
        "tokens": facts.get("tokens"), "seconds": facts.get("seconds"), **trial.params,
        "reason": trial.user_attrs.get(REASON, ""), "mlflow_run_id": trial.user_attrs.get(RUN, ""),
    }


def _finalist_row(one: Finalist) -> dict[str, Any]:
    """Return a finalist as a table row; all finalists of a sweep have the same columns."""
    low, high = one.interval or (None, None)
    row: dict[str, Any] = {"trial": number_of(one.trial), "search_perplexity": perplexity(nats_of(one.trial))}
    if not one.losses and not one.failed:
        return row
    return row | {
        "perplexity": perplexity(fmean(one.losses)) if one.losses else None,
        "low": None if low is None else perplexity(low), "high": None if high is None else perplexity(high),
        "confidence": one.confidence if one.interval else None,
        "seeds": len(one.losses), "seeds_failed": one.failed,
        "nats_between_seeds": stdev(one.losses) if one.interval else None,
    }


def _perplexity(nats: float | None) -> float | None:
    return None if nats is None else perplexity(nats)


def _note(result: Mapping[str, Any]) -> str:
    winner = result["winner"]
    failed = f"; {winner['seeds_failed']} of its seeds failed" if winner.get("seeds_failed") else ""
    return f"Winner: trial {winner['trial']}{failed}\n\n{fenced(result['toml'], 'toml')}"


def overrides_of(index: int, values: Mapping[str, Value]) -> list[str]:
    """Return the options as overrides for `--set`, e.g. `models.1.hidden=256`."""
    return [f"models.{index}.{name}={_toml(value)}" for name, value in values.items()]


def toml_of(values: Mapping[str, Value]) -> str:
    """Return the options as TOML lines of a preset: first the model's own options, then those of its sections."""
    lines = [f"{name} = {_toml(value)}" for name, value in values.items() if "." not in name]
    for section in sorted({name.partition(".")[0] for name in values if "." in name}):
        inside = [(name.partition(".")[2], value) for name, value in values.items() if name.startswith(f"{section}.")]
        lines += [f"[models.{section}]", *(f"{name} = {_toml(value)}" for name, value in inside)]
    return "\n".join(lines)


def _toml(value: Value | None) -> str:
    return json.dumps("none" if value is None else value)
