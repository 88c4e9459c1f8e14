"""Prefect flows: from raw reviews to the registered model."""

import os

from reviewlm.core.processes.memory import limit_heaps

if os.environ.get(
    "PREFECT__FLOW_RUN_ID"
):  # a worker imports nothing of ours before the flow's module
    limit_heaps()  # as a command does
