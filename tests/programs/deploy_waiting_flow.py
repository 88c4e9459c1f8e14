"""Deploy a flow that waits, one with a limit and one without: POOL PYTHONPATH."""

from __future__ import annotations

import sys

from prefect.deployments.runner import RunnerDeployment

from tests.operation.real_server.waiting_flow import whole

pool, path = sys.argv[1:]
variables = {"env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30", "PYTHONPATH": path}}
for name, limit in {"queued": 1, "free": None}.items():
    made = whole.to_deployment(
        name,
        work_pool_name=pool,
        concurrency_limit=limit,
        job_variables=variables,
    )
    assert isinstance(made, RunnerDeployment)
    made.entrypoint = f"{whole.fn.__module__}.whole"
    made.apply()
