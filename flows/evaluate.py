"""Evaluate fitted models: score the same test reviews, compute figures, draw samples, build the comparison table."""

from __future__ import annotations

from prefect import flow

from core.config.run_config import RunConfig
from flows.server.workers import on_workers
from tasks.data.prepare import Prepared
from tasks.evaluation.compare import Evaluated, compare_models
from tasks.evaluation.evaluate import measure, score
from tasks.fitting.fit import Fitted, device_of
from tasks.stage import step


def evaluate(config: RunConfig, prepared: Prepared, fitted: list[Fitted], parent_run_id: str) -> Evaluated:
    """Return the measured models in the order of *fitted*, with comparison table, grammar floor and samples."""
    # On a GPU, measure one model at a time: a second one would need memory of its own.
    workers = 1 if device_of(config) == "cuda" else config.execution.workers
    several = f"score, sample and audit {len(fitted)} models, then compare them"
    with step("evaluate", several if len(fitted) > 1 else "score, sample and audit the model"):
        return on_workers(measure_models, workers)(config, prepared, fitted, parent_run_id)


@flow(name="evaluate", flow_run_name="{config.title}", persist_result=False)
def measure_models(config: RunConfig, prepared: Prepared, fitted: list[Fitted], parent_run_id: str) -> Evaluated:
    """Score one model after the other, because their speeds are compared; then measure the rest in parallel."""
    scores = [score(config, model, prepared) for model in fitted]
    futures = [measure.submit(config, *both, prepared) for both in zip(fitted, scores, strict=True)]
    return compare_models(config, prepared, [future.result() for future in futures], parent_run_id)
