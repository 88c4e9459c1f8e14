"""Token streams → one fitted model per spec of the configuration, each with its MLflow run."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from reviewlm.config import RunConfig
from tasks.fit import Fitted, fit, interruptible_fits, parts_of, relative_cost
from tasks.prepare import Prepared


@flow(name="fit-models", persist_result=False)
def fit_models(config: RunConfig, prepared: Prepared, parent_run_id: str) -> list[Fitted]:
    """Return the fitted models in the configuration's order.

    The baseline is fitted first, then the costly ones, last those that are made of others, when these are ready.
    """
    single = [spec for spec in config.models if not parts_of(spec)]
    first = sorted(single, key=lambda spec: (spec.name != config.baseline, -relative_cost(spec)))
    with interruptible_fits():
        futures = {spec.name: fit.submit(config, spec, prepared, parent_run_id, {}) for spec in first}
        for spec in config.models:
            if names := parts_of(spec):
                parts = {name: futures[name].result() for name in names}
                futures[spec.name] = fit.submit(config, spec, prepared, parent_run_id, parts)
        return [futures[spec.name].result() for spec in config.models]


def train(config: RunConfig, prepared: Prepared, parent_run_id: str) -> list[Fitted]:
    """Fit the models, as many side by side as the configuration has workers."""
    runner: Any = ThreadPoolTaskRunner(max_workers=config.execution.workers)
    return fit_models.with_options(task_runner=runner)(config, prepared, parent_run_id)
