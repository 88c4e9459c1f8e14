"""Prefect flows: from raw reviews to the registered model."""

from flows.server.traces import send_traces

send_traces()  # here, because a worker imports nothing of ours before the flow's module
