"""Prefect flows: from raw reviews to the registered model."""

import os

from reviewlm.core.processes.memory import limit_heaps

# A worker imports nothing of ours before the flow's module.
if os.environ.get("PREFECT__FLOW_RUN_ID"):
    limit_heaps()  # as a command does
