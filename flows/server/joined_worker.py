"""Join this machine to the Prefect server of another machine, as a worker that fits and scores networks for it.

Fit and score networks for other machines, in a run of a worker that has joined their Prefect server.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.deployments.runner import EntrypointType
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.runtime import flow_run
from prefect.workers.process import ProcessWorker

from core.config.presets import load_config
from core.errors import ConfigError
from core.processes.children import start_child
from core.services.join import OF_TERMINAL
from core.services.json_logs import log_variables
from flows.server.parameters import AtLeastZero
from tasks.fitting.pool_runs import FLOW
from tasks.fitting.pool_worker import do_for_pool

QUEUE = "fits"
"""Queue of the pool for fits of other machines. A worker that joins takes nothing else: other deployments of the pool
may need files of the machine that made them."""
PROCESS = "process"


def join_pool(pool: str) -> None:
    """Create what is missing on the Prefect server: the pool, and the deployment of `fit-job`.

    Args:
        pool: Name of the pool.

    Raises:
        ConfigError: The pool exists, and runs something else than processes.
    """
    with get_client(sync_client=True) as client:
        try:
            found = client.read_work_pool(pool)
        except ObjectNotFound:
            template: dict[str, Any] = ProcessWorker.get_default_base_job_template()
            with suppress(ObjectAlreadyExists):  # another worker has just made it
                client.create_work_pool(WorkPoolCreate(name=pool, type=PROCESS, base_job_template=template))
        else:
            if found.type != PROCESS:
                raise ConfigError(
                    "The work pool must be of the type 'process'", where=pool, value=found.type,
                    remedy="choose another --pool",
                )
    deployment: Any = fit_job.to_deployment(
        pool, description="Fit or score a network for another machine (execution.fit_pool).", work_pool_name=pool,
        work_queue_name=QUEUE, entrypoint_type=EntrypointType.MODULE_PATH,
    )  # fmt: skip
    deployment.apply()


def start_worker(pool: str, places: int) -> subprocess.Popen[Any]:
    """Start Prefect's worker of a pool as a child process.

    Args:
        pool: Name of the pool.
        places: Fits that may run at the same time.
    """
    environment = {**os.environ, **log_variables(), "PREFECT_LOGGING_LEVEL": "INFO"}
    environment.pop(OF_TERMINAL, None)
    return start_child(["-m", *command_of(pool, places)], env=environment)


def command_of(pool: str, places: int) -> Sequence[str]:
    """Return the words of the worker's command after `python -m`."""
    name = re.sub(r"[^A-Za-z0-9-]+", "-", f"reviewlm-{platform.node()}-{pool}")
    return [
        "prefect", "worker", "start", "--pool", pool, "--type", PROCESS, "--work-queue", QUEUE, "--name", name,
        "--limit", str(places), "--install-policy", "never", "--no-create-pool-if-not-found",
    ]  # fmt: skip


@flow(name=FLOW, persist_result=False)
def fit_job(job: str, place: AtLeastZero = 0) -> str:
    """Do a job from the remote store; what is made goes back there. Return the job's name in messages.

    Args:
        job: Name of the job.
        place: Place of this run among those that train the network together (`execution.fit_machines`).
    """
    # The worker's environment names its home and the remote store.
    return do_for_pool(load_config(), job, str(flow_run.id), place)
