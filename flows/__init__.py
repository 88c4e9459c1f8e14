"""Prefect flows: from raw reviews to the registered model."""

from core.processes.memory import limit_heaps
from core.services.deployed_code import enter_working_folder

# All here, because a worker imports nothing of ours before the flow's module.
if enter_working_folder():
    limit_heaps()  # as a command does
