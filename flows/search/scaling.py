"""Predict a model's loss with a scaling law: small fits, stored prediction, whole fit, check of the prediction."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.ingest import ingest
from flows.prepare import prepare
from flows.retrain import resolve
from flows.server.parameters import Given, Inputs, Overrides, Preset
from flows.server.workers import on_workers
from tasks.data.prepare import Prepared
from tasks.fitting.fit import fit, limits_of_fits
from tasks.fitting.fit_process import interruptible_fits
from tasks.fitting.pool_runs import require_pool
from tasks.limits import require_limits
from tasks.search.scaling import (
    ScalingPlan,
    SmallFit,
    archive,
    check_prediction,
    fit_small,
    plan_scaling,
    predict,
    prediction_of,
    small_fits,
)
from tasks.tracking.track import parent_run


@flow(name="scaling", persist_result=False)
def scaling(
    preset: Preset = "small", input: Inputs = None, overrides: Overrides = None
) -> dict[str, Any]:
    """Predict the loss of a model's whole fit from small fits, store the prediction, and check it.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file.
        input: Files, folders or globs of reviews. None: the embedded synthetic corpus.
        overrides: Settings as `key=value`, e.g. `scaling.model=lstm`.
    """
    config = resolve(preset, input, overrides)
    require_limits(limits_of_fits(config))
    require_pool(config)
    plan = plan_scaling(config)
    prepared = prepare(plan.config, ingest(plan.config))
    with parent_run(plan.config, "scaling") as run_id:
        fits = on_workers(fit_small_ones, plan.config.execution.workers)(plan, prepared, run_id)
        prediction = predict(plan, prepared, fits, run_id)
        if plan.config.scaling.whole:
            with interruptible_fits():
                fit(plan.config, plan.base, prepared, run_id, {})
        outcome = check_prediction(plan, prediction, fits, run_id)
    return {
        "model": plan.base.name, "small": [one.as_row() for one in fits], "outcome": outcome,
        "prediction": prediction_of(prediction).to_dict(), "archive": archive(plan.config),
        "artifact": prediction.path, "mlflow_run_id": run_id,
    }


@flow(name="fit-small-ones", flow_run_name="{plan.config.title}", persist_result=False)
def fit_small_ones(plan: Given[ScalingPlan], prepared: Given[Prepared], parent_run_id: str) -> list[SmallFit]:
    """Fit all small models in parallel, one per worker of the configuration."""
    with interruptible_fits():
        futures = [fit_small.submit(plan.config, one, prepared, parent_run_id) for one in small_fits(plan, prepared)]
        found = [future.result() for future in futures]
    return [one for one in found if one is not None]
