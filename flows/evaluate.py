"""Fitted models → scores on the same test reviews, figures, samples, and the table that compares them."""

from __future__ import annotations

from prefect import flow

from reviewlm.config import RunConfig
from tasks.compare import Evaluated, compare_models
from tasks.evaluate import measure
from tasks.fit import Fitted
from tasks.prepare import Prepared


@flow(name="evaluate", persist_result=False)
def evaluate(config: RunConfig, prepared: Prepared, fitted: list[Fitted], parent_run_id: str) -> Evaluated:
    """Return the measured models, ordered as fitted, with table, floor and samples."""
    measured = [measure.submit(config, model, prepared).result() for model in fitted]
    return compare_models.submit(config, prepared, measured, parent_run_id).result()
