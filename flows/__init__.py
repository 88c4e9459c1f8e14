"""Prefect flows: from raw reviews to the registered model."""

from core.processes.memory import limit_heaps
from core.services.deployed_code import enter_working_folder
from flows.server.traces import send_traces

# All here, because a worker imports nothing of ours before the flow's module.
if made_here := enter_working_folder():
    limit_heaps()  # as a command does
    from tasks.flow_run import keep_alive  # other processes need not wait for Prefect

    keep_alive(made_here)  # before the flow's module, whose import takes seconds: a run may be killed in them, too
send_traces()
