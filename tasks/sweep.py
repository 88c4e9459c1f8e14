"""Plan a sweep, open its study, choose the finalists, and summarise the winner with its confidence interval."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import polars as pl

from core.config.run_config import RunConfig
from core.config.search_space import (
    Dimension,
    Range,
    Value,
    chosen_model,
    parse_space,
    to_write,
    with_only,
    with_options,
)
from core.config.sections.sweep import SweepConfig
from core.errors import FitError
from core.markdown import fenced
from core.store import DIGEST_LENGTH, canonical
from evaluation.plots.sweep import sweep_history, sweep_importance, sweep_slices
from evaluation.statistics.seeds import MeanInterval, mean_interval
from models.perplexity import perplexity
from models.specs import NPLMSpec, RecurrentSpec, identity
from tasks.data.prepare import Prepared
from tasks.fitting.fit import fit_version
from tasks.fitting.warm_start import champion_digest
from tasks.stage import show_markdown, show_table, stage
from tasks.start_vectors import start_vectors
from tasks.sweep_study import Study, Trial
from tasks.sweep_trial import CHAMPION_NOTE, mark_best
from tasks.track import tracker_of
from tracking.tags import NOTE, SWEEP_WINNER

PARENT = "parent run"
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
        interval: Confidence interval of the mean loss; None for fewer than two losses.
    """

    trial: Trial
    losses: tuple[float, ...]
    failed: int
    interval: MeanInterval | None

    @property
    def rank(self) -> tuple[int, float, int]:
        """Sort key of finalists, best first: fewest failed seeds, then lowest mean loss.

        Options that fail under some seeds are unreliable, however low the other losses are. The trial's own loss has a
        selection bias and counts only if no seed finished.
        """
        own = float("inf") if self.trial.nats is None else self.trial.nats
        return self.failed, fmean(self.losses) if self.losses else own, self.trial.number


def plan_sweep(config: RunConfig) -> SweepPlan:
    """Check a sweep before any work, and warn if no trial can be pruned."""
    index, base = chosen_model(config, config.sweep.model, "sweep.model")
    dimensions = parse_space(base, config.sweep.space)
    if reason := inert_pruning(config.sweep, base.training.evaluations):
        log.warning("no trial of '%s' will be pruned: %s (if that is meant: sweep.pruner=none)", base.name, reason)
    return SweepPlan(base, index, dimensions, with_only(config, base))


def inert_pruning(options: SweepConfig, evaluations: int) -> str:
    """Return why the pruner of a sweep can never prune a trial; "" if it can, or if pruning is off.

    Args:
        evaluations: Number of evaluations of each fit.
    """
    if options.pruner == "none":
        return ""
    if evaluations <= options.prune_after:
        return (
            f"a fit has {evaluations} evaluations; the last one cannot prune, and the first that can is number "
            f"{options.prune_after}; set training.evaluations above sweep.prune_after"
        )
    if options.pruner == "median" and options.trials <= options.random_trials:
        return (
            f"the median pruner needs {options.random_trials} finished trials (sweep.random_trials), but sweep.trials "
            f"is {options.trials}"
        )
    return ""


def open_study(plan: SweepPlan, prepared: Prepared) -> Study:
    """Return the study of this model, search space, data and champion: a new one, or that of an earlier run.

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
        "space": [[name, asdict(found)] for name, found in plan.dimensions.items()],
        "search": options.model_dump(include={"random_trials", "pruner", "prune_after", "seed"}),
    }
    if (vectors := start_vectors(plan.config, plan.base, prepared)) is not None:
        about["vectors"] = vectors.digest
    digest = hashlib.sha256(canonical(about).encode()).hexdigest()[:DIGEST_LENGTH]
    study = Study(plan.config.home / "sweeps" / digest, options, plan.dimensions)
    study.remember(CHAMPION_NOTE, champion)
    if begun := study.trials():
        log.info("the sweep continues after %d trials: %s", len(begun), study.folder)
    return study


def _not_searched(plan: SweepPlan) -> dict[str, Any]:
    """Return the model's identity without the searched options."""
    options = identity(plan.base)
    for name in plan.dimensions:
        section, _, option = name.rpartition(".")
        (options[section] if section else options).pop(option, None)
    return options


def finalists_of(plan: SweepPlan, study: Study) -> list[Trial]:
    """Return the best trials by validation loss; of trials with the same model only the first.

    Raises:
        FitError: No trial finished.
    """
    trials = study.trials()
    complete = sorted((t for t in trials if t.nats is not None), key=lambda t: (t.nats or 0.0, t.number))
    if not complete:
        failed = [trial.reason for trial in trials if trial.state == "failed"]
        told = f"{len(failed)} failed, {len(trials) - len(failed)} pruned"
        raise FitError(
            f"None of the {len(trials)} trials of the sweep finished: {told}", where=study.folder,
            cause=next(iter(failed), ""),
            remedy="narrow the space, above all training.learning_rate; a rerun with more trials continues from these",
        )
    models = {trial.number: canonical(identity(with_options(plan.base, trial.values))) for trial in complete}
    distinct = {models[trial.number]: trial for trial in reversed(complete)}
    return sorted(distinct.values(), key=lambda trial: (trial.nats or 0.0, trial.number))[: plan.config.sweep.finalists]


def finalist(trial: Trial, losses: Sequence[float | None], confidence: float) -> Finalist:
    """Return a finalist with the confidence interval of *losses*, one loss per fresh seed; None: the seed failed."""
    found = tuple(loss for loss in losses if loss is not None)
    interval = mean_interval(found, confidence) if len(found) > 1 else None
    return Finalist(trial, found, len(losses) - len(found), interval)


@stage("summarise sweep")
def summarise_sweep(plan: SweepPlan, study: Study, finalists: Sequence[Finalist], parent_run_id: str) -> dict[str, Any]:
    """Log plots and tables to the sweep's MLflow run, mark the best trial, and return the result of the sweep."""
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
        told = "trial %d wins though %d of its seeds failed: no finalist finished all of them"
        log.warning(told, winner.trial.number, winner.failed)
    mark_best(plan.config, study, winner.trial.run_id)
    _log(plan, trials, importances, winner, result, parent_run_id)
    show_table("sweep", rows, f"Trials. MLflow: {tracker_of(plan.config).link(parent_run_id)}")
    show_markdown("sweep-winner", f"Trial {winner.trial.number}\n\n{fenced(str(result['toml']), 'toml')}", "Winner")
    return result


def _log(
    plan: SweepPlan, trials: Sequence[Trial], importances: Mapping[str, float], winner: Finalist,
    result: dict[str, Any], run_id: str,
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
    tracker.set_tags(run_id, {SWEEP_WINNER: f"trial {winner.trial.number}", NOTE: _note(result)})


def trial_row(trial: Trial) -> dict[str, Any]:
    """Return a trial as a flat table row."""
    return {
        "trial": trial.number, "state": trial.state, "perplexity": _perplexity(trial.nats),
        "reached": _perplexity(min(trial.reached.values(), default=None)),
        "tokens": trial.facts.get("tokens"), "seconds": trial.facts.get("seconds"), **trial.values,
        "reason": trial.reason, "mlflow_run_id": trial.run_id,
    }


def _finalist_row(found: Finalist) -> dict[str, Any]:
    """Return a finalist as a table row; all finalists of a sweep have the same columns."""
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
