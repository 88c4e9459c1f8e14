"""A sweep from its plan to its result: what is searched for which model, who wins with how much certainty."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from core.config.neural_choice import chosen_model, with_only
from core.config.run_config import RunConfig
from core.config.search_space import Dimension, Range, Value, parse_space, to_write, with_options
from core.config.sections.sweep import SweepConfig
from core.errors import FitError
from core.store import DIGEST_LENGTH, canonical
from evaluation.plots.sweep import sweep_history, sweep_importance, sweep_slices
from evaluation.statistics.seeds import MeanInterval, mean_interval
from models.neural.training.training_metrics import perplexity
from models.specs import NPLMSpec, RecurrentSpec, identity
from tasks.data.prepare import Prepared
from tasks.fitting.fit import FIT_VERSION
from tasks.fitting.warm_start import champion_digest
from tasks.search.study import Study, Trial
from tasks.search.trial import CHAMPION_NOTE, mark_best
from tasks.stage import show_markdown, show_table
from tasks.tracking.track import tracker_of
from tracking.runs.runs import NOTE

PARENT = "parent run"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """The model whose options are searched, and where.

    Args:
        base: The model; what is not searched stays as it is.
        index: Its place in the configuration's models.
        dimensions: What is searched, by the option's full name.
        config: The run's configuration with this one model.
    """

    base: RecurrentSpec | NPLMSpec
    index: int
    dimensions: dict[str, Dimension]
    config: RunConfig

    @property
    def seeds(self) -> list[int]:
        """Seeds that the finalists are fitted with: none that the search has used."""
        return [self.base.training.seed + 1 + number for number in range(self.config.sweep.seeds)]


@dataclass(frozen=True)
class Finalist:
    """One of the best trials, with its losses under seeds that the search has not seen.

    Args:
        trial: As the search left it.
        losses: Validation loss in nats per token under each seed that came to an end.
        failed: Seeds that did not.
        interval: Of the mean of the losses; None for fewer than two.
    """

    trial: Trial
    losses: tuple[float, ...]
    failed: int
    interval: MeanInterval | None

    @property
    def rank(self) -> tuple[int, float, int]:
        """What finalists are ordered by, the best first.

        Options that fail under some seeds are none to rely on, however low the others come out: the fewer seeds failed,
        the better, then the lower mean. The trial's own loss, which is lucky, counts only where no seed ended.
        """
        own = float("inf") if self.trial.nats is None else self.trial.nats
        return self.failed, fmean(self.losses) if self.losses else own, self.trial.number


def plan_sweep(config: RunConfig) -> Plan:
    """Check a sweep before any work, and warn of pruning that cannot happen.

    Raises:
        ConfigError: See `core.config.neural_choice.chosen_model` and `core.config.search_space.parse_space`.
    """
    index, base = chosen_model(config, config.sweep.model, "sweep.model")
    dimensions = parse_space(base, config.sweep.space)
    if reason := inert_pruning(config.sweep, base.training.evaluations):
        log.warning("no trial of '%s' will be pruned: %s (if that is meant: sweep.pruner=none)", base.name, reason)
    return Plan(base, index, dimensions, with_only(config, base))


def inert_pruning(options: SweepConfig, evaluations: int) -> str:
    """Return why the pruner of a sweep can end no trial, "" where it can.

    Args:
        options: Of the sweep.
        evaluations: Of each fit.
    """
    if options.pruner == "none":
        return ""
    if evaluations <= options.prune_after:
        return (
            f"a fit has {evaluations} evaluations, the last of which prunes nothing, and the first that may is number "
            f"{options.prune_after}; set training.evaluations above sweep.prune_after"
        )
    if options.pruner == "median" and options.trials <= options.random_trials:
        return (
            f"the median prunes from {options.random_trials} finished trials on (sweep.random_trials), "
            f"and sweep.trials is {options.trials}"
        )
    return ""


def open_study(plan: Plan, prepared: Prepared) -> Study:
    """Return the study of this model, space, data and start: a new one, or the one that an earlier run has begun.

    How many trials are wanted, and what is done with the best, may differ from run to run; so may what the model has
    for the options that are searched, e.g. the best values so far. The order of the space's options counts: the
    sampler draws in that order.

    Raises:
        ArtifactError: The study of an earlier run cannot be opened.
        TrackingUnavailable: Which champion the fits start from cannot be told.
    """
    options, champion = plan.config.sweep, champion_digest(plan.config, plan.base)
    tokens = {split: artifact.digest for split, artifact in prepared.tokens[plan.base.vocabulary].items()}
    about = {
        "fit": FIT_VERSION, "model": _not_searched(plan), "tokens": tokens, "champion": champion,
        "space": [[name, asdict(found)] for name, found in plan.dimensions.items()],
        "search": options.model_dump(include={"random_trials", "pruner", "prune_after", "seed"}),
    }
    digest = hashlib.sha256(canonical(about).encode()).hexdigest()[:DIGEST_LENGTH]
    study = Study(plan.config.home / "sweeps" / digest, options, plan.dimensions)
    study.remember(CHAMPION_NOTE, champion)
    if begun := study.trials():
        log.info("the sweep goes on after %d trials: %s", len(begun), study.folder)
    return study


def _not_searched(plan: Plan) -> dict[str, Any]:
    """Return the model's identity without the options that every trial sets."""
    options = identity(plan.base)
    for name in plan.dimensions:
        section, _, option = name.rpartition(".")
        (options[section] if section else options).pop(option, None)
    return options


def finalists_of(plan: Plan, study: Study) -> list[Trial]:
    """Return the best trials by validation loss; of those that are the very same model the first.

    Raises:
        FitError: No trial came to an end.
    """
    trials = study.trials()
    complete = sorted((t for t in trials if t.nats is not None), key=lambda t: (t.nats or 0.0, t.number))
    if not complete:
        failed = [trial.reason for trial in trials if trial.state == "failed"]
        told = f"{len(failed)} failed, {len(trials) - len(failed)} pruned"
        raise FitError(
            f"None of the {len(trials)} trials of the sweep came to an end: {told}", where=study.folder,
            cause=next(iter(failed), ""),
            remedy="narrow the space, above all training.learning_rate; a rerun with more trials goes on from these",
        )
    models = {trial.number: canonical(identity(with_options(plan.base, trial.values))) for trial in complete}
    distinct = {models[trial.number]: trial for trial in reversed(complete)}
    return sorted(distinct.values(), key=lambda trial: (trial.nats or 0.0, trial.number))[: plan.config.sweep.finalists]


def finalist(trial: Trial, losses: Sequence[float | None], confidence: float) -> Finalist:
    """Return a finalist with the interval of its losses, one for each fresh seed; None stands for one that failed."""
    found = tuple(loss for loss in losses if loss is not None)
    interval = mean_interval(found, confidence) if len(found) > 1 else None
    return Finalist(trial, found, len(losses) - len(found), interval)


@task(name="summarise sweep", cache_policy=NO_CACHE, persist_result=False)
def summarise_sweep(plan: Plan, study: Study, finalists: Sequence[Finalist], parent_run_id: str) -> dict[str, Any]:
    """Log figures and tables to the sweep's MLflow run, mark the best trial, and return what came of it."""
    trials, winner = study.trials(), min(finalists, key=lambda found: found.rank)
    importances = study.importances()
    rows, chosen = [trial_row(trial) for trial in trials], to_write(plan.base, winner.trial.values)
    result = {
        "study": str(study.folder), "mlflow_run_id": parent_run_id, "model": plan.base.name, "trials": rows,
        "importances": importances, "finalists": [_finalist_row(found) for found in finalists],
        "winner": {**_finalist_row(winner), "values": winner.trial.values, "mlflow_run_id": winner.trial.run_id},
        "overrides": overrides_of(plan.index, chosen), "toml": toml_of(chosen),
    }
    if winner.failed:
        told = "trial %d wins though %d of its seeds failed: no finalist got through all of them"
        log.warning(told, winner.trial.number, winner.failed)
    mark_best(plan.config, study, winner.trial.run_id)
    _log(plan, trials, importances, winner, result, parent_run_id)
    show_table("sweep", rows, f"Trials. MLflow: {tracker_of(plan.config).link(parent_run_id)}")
    show_markdown("sweep-winner", f"Trial {winner.trial.number}\n\n```toml\n{result['toml']}\n```", "Winner")
    return result


def _log(
    plan: Plan, trials: Sequence[Trial], importances: Mapping[str, float], winner: Finalist, result: dict[str, Any],
    run_id: str,
) -> None:
    tracker = tracker_of(plan.config)
    logarithmic = [name for name, found in plan.dimensions.items() if isinstance(found, Range) and found.log]
    tracker.log_figure(run_id, sweep_history(trials), "plots/sweep_history.png")
    tracker.log_figure(run_id, sweep_slices(trials, logarithmic, winner.trial.number), "plots/sweep_slices.png")
    if importances:
        tracker.log_figure(run_id, sweep_importance(importances), "plots/sweep_importance.png")
        tracker.log_metrics(run_id, {f"importance/{name}": share for name, share in importances.items()})
    tracker.log_table(run_id, pl.DataFrame(result["trials"], infer_schema_length=None), "trials.json")
    tracker.log_text(run_id, result["toml"], "winner.toml")
    tracker.log_text(run_id, json.dumps(result, indent=2), "sweep.json")
    losses = [("trial/validation_nats", trial.nats, trial.number) for trial in trials if trial.nats is not None]
    tracker.log_curves(run_id, losses)
    best = {f"winner/{name}": value for name, value in _finalist_row(winner).items() if isinstance(value, float)}
    tracker.log_metrics(run_id, best)
    tracker.set_tags(run_id, {"sweep.winner": f"trial {winner.trial.number}", NOTE: _note(result)})


def trial_row(trial: Trial) -> dict[str, Any]:
    """Return a trial as a flat row of a table."""
    return {
        "trial": trial.number, "state": trial.state, "perplexity": _perplexity(trial.nats),
        "reached": _perplexity(min(trial.reached.values(), default=None)),
        "tokens": trial.facts.get("tokens"), "seconds": trial.facts.get("seconds"), **trial.values,
        "reason": trial.reason, "mlflow_run_id": trial.run_id,
    }


def _finalist_row(found: Finalist) -> dict[str, Any]:
    """Return a finalist as a row; of all finalists of a sweep the columns are the same."""
    interval = found.interval
    row: dict[str, Any] = {"trial": found.trial.number, "search_perplexity": _perplexity(found.trial.nats)}
    if not found.losses and not found.failed:
        return row
    return row | {
        "perplexity": _perplexity(fmean(found.losses)) if found.losses else None,
        "low": _perplexity(interval.low) if interval else None,
        "high": _perplexity(interval.high) if interval else None,
        "confidence": interval.confidence if interval else None,
        "seeds": len(found.losses), "seeds_failed": found.failed,
        "nats_between_seeds": interval.deviation if interval else None,
    }


def _perplexity(nats: float | None) -> float | None:
    return None if nats is None else perplexity(nats)


def _note(result: Mapping[str, Any]) -> str:
    winner = result["winner"]
    failed = f", of whose seeds {winner['seeds_failed']} failed" if winner.get("seeds_failed") else ""
    return f"Winner: trial {winner['trial']}{failed}\n\n```toml\n{result['toml']}\n```"


def overrides_of(index: int, values: Mapping[str, Value]) -> list[str]:
    """Return the options as overrides for `--set`, e.g. `models.1.hidden=256`."""
    return [f"models.{index}.{name}={_toml(value)}" for name, value in values.items()]


def toml_of(values: Mapping[str, Value]) -> str:
    """Return the options as lines of a preset: the model's own first, then its sections."""
    lines = [f"{name} = {_toml(value)}" for name, value in values.items() if "." not in name]
    for section in sorted({name.partition(".")[0] for name in values if "." in name}):
        inside = [(name.partition(".")[2], value) for name, value in values.items() if name.startswith(f"{section}.")]
        lines += [f"[models.{section}]", *(f"{name} = {_toml(value)}" for name, value in inside)]
    return "\n".join(lines)


def _toml(value: Value | None) -> str:
    return json.dumps("none" if value is None else value)
