"""Fit and score networks for other machines, in a run of a worker that has joined their Prefect server."""

from __future__ import annotations

from prefect import flow
from prefect.runtime import flow_run

from core.config.presets import load_config
from flows.server.parameters import AtLeastZero
from tasks.fitting.pool_runs import FLOW
from tasks.fitting.pool_worker import do_for_pool


@flow(name=FLOW, persist_result=False)
def fit_job(job: str, place: AtLeastZero = 0) -> str:
    """Do a job from the remote store; what is made goes back there. Return the job's name in messages.

    Args:
        job: Name of the job.
        place: Place of this run among those that train the network together (`execution.fit_machines`).
    """
    # The worker's environment names its home and the remote store.
    return do_for_pool(load_config(), job, str(flow_run.id), place)
