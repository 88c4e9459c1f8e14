"""Prefect flows: from raw reviews to the registered model."""

from core.services.deployed_code import enter_working_folder
from flows.server.traces import send_traces

# Both here, because a worker imports nothing of ours before the flow's module.
enter_working_folder()
send_traces()
