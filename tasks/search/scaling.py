"""Predict a model's whole fit from small fits with a scaling law, and check the prediction.

The prediction is an artifact of the store. It is made before the whole fit begins and is never changed. All stored
predictions, with the fits they predict, are the archive on which the coverage of the intervals is measured.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.config.neural_choice import chosen_model, with_only
from core.config.run_config import RunConfig
from core.errors import ConfigError, FitError
from core.store import Artifact
from evaluation.plots.scaling import scaling_figure
from evaluation.statistics.scaling import Law, Prediction, foretell
from models.neural.training.training_metrics import perplexity
from models.specs import NPLMSpec, RecurrentSpec
from tasks.data.prepare import Prepared
from tasks.fitting.fit import plan_fit
from tasks.fitting.warm_start import wants_champion
from tasks.search.trial import fit_shown, trial_run
from tasks.stage import run_stage, show_table, stage, store_of
from tasks.tracking.track import tracker_of

PREDICTION_FILE = "prediction.json"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScalingPlan:
    """Model whose whole fit is predicted, and the configuration with only this model."""

    base: RecurrentSpec | NPLMSpec
    config: RunConfig


@dataclass(frozen=True)
class Small:
    """Small fit: its share of the whole fit's epochs, its seed and its spec."""

    share: float
    seed: int
    spec: RecurrentSpec | NPLMSpec


@dataclass(frozen=True)
class SmallFit:
    """Finished small fit."""

    small: Small
    digest: str
    tokens: int
    nats: float

    def as_row(self) -> dict[str, Any]:
        """Return the fit as a table row."""
        row = {"share": self.small.share, "seed": self.small.seed, "tokens": self.tokens, "nats": self.nats}
        return row | {"perplexity": perplexity(self.nats)}


def plan_scaling(config: RunConfig) -> ScalingPlan:
    """Check the configuration of a scaling fit before any work; raise ConfigError if it is wrong."""
    base = chosen_model(config, config.scaling.model, "scaling.model")[1]
    if wants_champion(base):
        log.warning("'%s' starts from the champion; a scaling law needs fits from fresh weights", base.name)
    return ScalingPlan(base, with_only(config, base))


def small_fits(plan: ScalingPlan, prepared: Prepared) -> list[Small]:
    """Return the small fits, largest first; leave out those with fewer than `min_updates` updates.

    Raises:
        ConfigError: Fewer than three shares remain.
    """
    options, training = plan.config.scaling, plan.base.training
    updates = whole_tokens(plan, prepared) / (training.batch * training.bptt_len)
    shares = [share for share in options.shares if share * updates >= options.min_updates]
    if len(shares) < 3:
        raise ConfigError(
            f"Only {len(shares)} of the shares {options.shares} have {options.min_updates} updates or more: the whole "
            f"fit has {updates:.0f}", where="scaling.shares",
            remedy="more data or epochs, a smaller training.batch or window, or larger shares",
        )
    if left_out := sorted(set(options.shares) - set(shares)):
        log.warning("shares %s are left out: fewer than %d updates", left_out, options.min_updates)
    return [
        Small(share, seed, replace(plan.base, training=replace(training, epochs=training.epochs * share, seed=seed)))
        for share in reversed(shares)
        for seed in range(training.seed, training.seed + options.seeds)
    ]


def whole_tokens(plan: ScalingPlan, prepared: Prepared) -> float:
    """Return the number of tokens that the whole fit will read, over all epochs."""
    return plan.base.training.epochs * int(prepared.tokens[plan.base.vocabulary]["train"].facts["tokens"])


@stage("small fit", run_name="share {small.share} seed {small.seed}")
def fit_small(config: RunConfig, small: Small, prepared: Prepared, parent_run_id: str) -> SmallFit | None:
    """Fit the model for a share of its epochs; return None if the fit failed."""
    values = {"share": small.share, "seed": small.seed}
    name = f"share {small.share:.4g} seed {small.seed}"
    with trial_run(config, prepared, small.spec, values, name, parent_run_id) as run:
        fitted = fit_shown(config, plan_fit(config, small.spec, prepared), prepared, run)
    if fitted is None:
        return None
    summary = fitted.facts["summary"]
    return SmallFit(small, fitted.digest, int(summary["tokens"]), float(summary["validation_nats"]))


@stage("predict")
def predict(plan: ScalingPlan, prepared: Prepared, fits: Sequence[SmallFit], parent_run_id: str) -> Artifact:
    """Predict the whole fit's loss from the small fits; store and log the prediction before the whole fit begins.

    Raises:
        FitError: The small fits do not follow a scaling law, or too few of them finished.
    """
    config, options = plan.config, plan.config.scaling
    size, whole = whole_tokens(plan, prepared), plan_fit(config, plan.base, prepared).digest
    there = (store_of(config).root / "fit" / whole).is_dir()

    def make(work: Path) -> dict[str, Any]:
        try:
            found = foretell([f.tokens for f in fits], [f.nats for f in fits], size, options.coverage, options.seed)
        except ValueError as error:
            raise FitError(f"The whole fit's loss cannot be predicted: {error}", where=plan.base.name) from error
        facts = {**found.to_dict(), "fit": whole, "model": plan.base.name, "fit_was_there": there}
        text = json.dumps({**facts, "small": [fit.as_row() for fit in fits]}, indent=2)
        (work / PREDICTION_FILE).write_text(text, encoding="utf-8")
        return facts

    inputs = {f"small {number}": fit.digest for number, fit in enumerate(fits)} | {"fit": whole}
    stated = {"size": size, "coverage": options.coverage, "seed": options.seed}
    artifact = run_stage(config, "prediction", stated, inputs, make, plan.base.name).artifact
    tracker, found = tracker_of(config), prediction_of(artifact)
    numbers = {name: getattr(found, name) for name in ("nats", "low", "high", "size")}
    tracker.log_metrics(parent_run_id, {f"prediction/{name}": value for name, value in numbers.items()})
    tracker.log_text(parent_run_id, (artifact.folder / PREDICTION_FILE).read_text(encoding="utf-8"), PREDICTION_FILE)
    points = [(fit.tokens, fit.nats) for fit in fits]
    tracker.log_figure(parent_run_id, scaling_figure(points, found), "plots/scaling_prediction.png")
    show_table("scaling", [fit.as_row() for fit in fits], f"Predicted: {found.low:.4f} to {found.high:.4f} nats")
    return artifact


def prediction_of(artifact: Artifact) -> Prediction:
    """Return the prediction stored in an artifact."""
    facts = artifact.facts
    numbers = {name: float(facts[name]) for name in ("size", "nats", "low", "high", "coverage")}
    return Prediction(**numbers, law=Law(**facts["law"]))


@stage("check prediction")
def check_prediction(
    plan: ScalingPlan, artifact: Artifact, fits: Sequence[SmallFit], parent_run_id: str
) -> dict[str, Any] | None:
    """Compare the stored prediction with the whole fit and log the outcome; return None if there is no such fit yet."""
    if (outcome := outcome_of(plan.config, artifact)) is None:
        return None
    tracker, found = tracker_of(plan.config), prediction_of(artifact)
    tracker.log_metrics(parent_run_id, {"outcome/nats": outcome["nats"], "outcome/inside": float(outcome["inside"])})
    figure = scaling_figure([(fit.tokens, fit.nats) for fit in fits], found, outcome["nats"])
    tracker.log_figure(parent_run_id, figure, "plots/scaling_outcome.png")
    return outcome


def outcome_of(config: RunConfig, artifact: Artifact) -> dict[str, Any] | None:
    """Return the outcome of the fit that a prediction is about; None if that fit is missing or damaged."""
    fit = store_of(config).find_usable("fit", artifact.facts["fit"])
    if fit is None:
        return None
    nats = float(fit.facts["summary"]["validation_nats"])
    inside = prediction_of(artifact).holds(nats)
    return {"nats": nats, "perplexity": perplexity(nats), "inside": inside, "fit": fit.digest}


def archive(config: RunConfig) -> dict[str, Any]:
    """Return the numbers of stored predictions, of checkable ones, and of those whose fit is inside the interval.

    Only predictions that were stored before their fit count.
    """
    made = [artifact for artifact in store_of(config).all("prediction") if not artifact.facts["fit_was_there"]]
    outcomes = [outcome for artifact in made if (outcome := outcome_of(config, artifact)) is not None]
    inside = sum(outcome["inside"] for outcome in outcomes)
    return {"predictions": len(made), "checked": len(outcomes), "inside": inside}
