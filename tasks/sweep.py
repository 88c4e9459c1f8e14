"""A sweep from its plan to its result: what is searched for which model, who wins with how much certainty."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import exp
from typing import Any

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from evaluation.seeds import MeanInterval, mean_interval
from evaluation.sweep_figures import sweep_history, sweep_importance, sweep_slices
from models.specs import NPLMSpec, RecurrentSpec, identity
from reviewlm.config import RunConfig
from reviewlm.errors import FitError
from reviewlm.neural_choice import chosen_model, with_only
from reviewlm.search_space import Dimension, Range, Value, parse_space
from reviewlm.store import DIGEST_LENGTH, canonical
from tasks.prepare import Prepared
from tasks.stage import show_markdown, show_table
from tasks.study import Study, Trial
from tasks.track import tracker_of
from tasks.trial import mark_best
from tracking.runs import NOTE

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
    """One of the best trials, with its losses under seeds that the search has not seen."""

    trial: Trial
    losses: tuple[float, ...]
    interval: MeanInterval | None

    @property
    def nats(self) -> float:
        """What finalists are ranked by: the mean over the fresh seeds, or the trial's own loss where there are none."""
        return self.interval.mean if self.interval else self.trial.nats or float("inf")


def plan_sweep(config: RunConfig) -> Plan:
    """Check a sweep before any work.

    Raises:
        ConfigError: See `reviewlm.neural_choice.chosen_model` and `reviewlm.search_space.parse_space`.
    """
    index, base = chosen_model(config, config.sweep.model, "sweep.model")
    dimensions = parse_space(base, config.sweep.space)
    return Plan(base, index, dimensions, with_only(config, base))


def open_study(plan: Plan, prepared: Prepared) -> Study:
    """Return the study of this model, space and data: a new one, or the one that an earlier run has begun.

    How many trials are wanted, and what is done with the best, may differ from run to run.
    """
    options = plan.config.sweep
    tokens = {split: artifact.digest for split, artifact in prepared.tokens[plan.base.vocabulary].items()}
    about = {
        "model": identity(plan.base), "space": {name: asdict(found) for name, found in plan.dimensions.items()},
        "tokens": tokens, "search": options.model_dump(include={"random_trials", "pruner", "prune_after", "seed"}),
    }
    digest = hashlib.sha256(canonical(about).encode()).hexdigest()[:DIGEST_LENGTH]
    study = Study(plan.config.home / "sweeps" / digest, options, plan.dimensions)
    if begun := study.trials():
        log.info("the sweep goes on after %d trials: %s", len(begun), study.folder)
    return study


def finalists_of(study: Study, count: int) -> list[Trial]:
    """Return the best trials by validation loss; of those with the very same options the first.

    Raises:
        FitError: No trial came to an end.
    """
    trials = study.trials()
    complete = sorted((t for t in trials if t.nats is not None), key=lambda t: (t.nats or 0.0, t.number))
    if not complete:
        reasons = [trial.reason for trial in trials if trial.reason]
        raise FitError(
            f"None of the {len(trials)} trials of the sweep came to an end", where=study.folder,
            cause=reasons[0] if reasons else "", remedy="narrow the space, above all training.learning_rate",
        )
    distinct = {canonical(trial.values): trial for trial in reversed(complete)}
    return sorted(distinct.values(), key=lambda trial: (trial.nats or 0.0, trial.number))[:count]


def finalist(trial: Trial, losses: Sequence[float | None], confidence: float) -> Finalist:
    """Return a finalist with the interval of its losses; seeds that failed are left out."""
    found = tuple(loss for loss in losses if loss is not None)
    return Finalist(trial, found, mean_interval(found, confidence) if len(found) > 1 else None)


@task(name="summarise sweep", cache_policy=NO_CACHE, persist_result=False)
def summarise_sweep(plan: Plan, study: Study, finalists: Sequence[Finalist], parent_run_id: str) -> dict[str, Any]:
    """Log figures and tables to the sweep's MLflow run, mark the best trial, and return what came of it."""
    trials, winner = study.trials(), min(finalists, key=lambda found: found.nats)
    importances = study.importances()
    rows = [trial_row(trial) for trial in trials]
    result = {
        "study": str(study.folder), "mlflow_run_id": parent_run_id, "model": plan.base.name, "trials": rows,
        "importances": importances, "finalists": [_finalist_row(found) for found in finalists],
        "winner": {**_finalist_row(winner), "values": winner.trial.values, "mlflow_run_id": winner.trial.run_id},
        "overrides": overrides_of(plan.index, winner.trial.values), "toml": toml_of(winner.trial.values),
    }
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
    perplexity = exp(trial.nats) if trial.nats is not None else None
    reached = exp(min(trial.reached.values())) if trial.reached else None
    return {
        "trial": trial.number, "state": trial.state, "perplexity": perplexity, "reached": reached,
        "tokens": trial.facts.get("tokens"), "seconds": trial.facts.get("seconds"), **trial.values,
        "reason": trial.reason, "mlflow_run_id": trial.run_id,
    }


def _finalist_row(found: Finalist) -> dict[str, Any]:
    interval = found.interval
    row: dict[str, Any] = {"trial": found.trial.number, "search_perplexity": exp(found.trial.nats or 0.0)}
    if interval is None:
        return row
    return row | {
        "perplexity": exp(interval.mean), "low": exp(interval.low), "high": exp(interval.high),
        "confidence": interval.confidence, "seeds": interval.seeds, "nats_between_seeds": interval.deviation,
    }


def _note(result: Mapping[str, Any]) -> str:
    return f"Winner: trial {result['winner']['trial']}\n\n```toml\n{result['toml']}\n```"


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


def _toml(value: Value) -> str:
    return json.dumps(value)
