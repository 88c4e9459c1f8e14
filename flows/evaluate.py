"""Evaluate fitted models: score the same test reviews, compute figures, draw samples, build the comparison table."""

from __future__ import annotations

from prefect import flow

from core.config.run_config import RunConfig
from tasks.data.prepare import Prepared
from tasks.evaluation.compare import Evaluated, compare_models
from tasks.evaluation.evaluate import measure
from tasks.fitting.fit import Fitted


@flow(name="evaluate", persist_result=False)
def evaluate(config: RunConfig, prepared: Prepared, fitted: list[Fitted], parent_run_id: str) -> Evaluated:
    """Return the measured models in the order of *fitted*, with comparison table, grammar floor and samples."""
    measured = [measure.submit(config, model, prepared).result() for model in fitted]
    return compare_models.submit(config, prepared, measured, parent_run_id).result()
