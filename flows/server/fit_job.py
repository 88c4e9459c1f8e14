"""Fit networks for other machines, in a run of a worker that `reviewlm worker start` has joined to their server."""

from __future__ import annotations

import os

from prefect import flow
from prefect.runtime import flow_run

from core.config.presets import load_config
from core.environment import STORE_VARIABLE
from tasks.fitting.for_others import fit_for_others
from tasks.fitting.pool_runs import FLOW


@flow(name=FLOW, persist_result=False)
def fit_job(job: str, store: str = "") -> str:
    """Fit the model of a job from the remote store; checkpoints and the model go back there. Return the model's name.

    Args:
        job: Name of the job.
        store: Address of the remote store as the machine that asks knows it; that of this worker wins.
    """
    address = os.environ.get(STORE_VARIABLE) or store
    config = load_config("small", [f"execution.remote_store={address}"])
    return fit_for_others(config, job, str(flow_run.id))
