"""Runs whose process is gone: a killed one cannot say that it has ended."""

from __future__ import annotations

import logging
import os
import socket

import psutil

from tracking.runs import NOTE, Tracker

log = logging.getLogger(__name__)
PROCESS = "reviewlm.process"
CLOCK_STEP = 2.0
"""Seconds by which two answers about the beginning of one process may differ."""


def process_tags() -> dict[str, str]:
    """Return the tag that says which process writes a run: machine, number, seconds since 1970 at its start."""
    return {PROCESS: f"{socket.gethostname()} {os.getpid()} {psutil.Process().create_time():.0f}"}


def is_gone(process: str) -> bool:
    """Return whether a process of this machine has ended; False of one elsewhere, which nobody here can know."""
    try:
        host, pid, began = process.rsplit(" ", 2)
        number, start = int(pid), float(began)
    except ValueError:
        return False
    if host != socket.gethostname():
        return False
    try:
        return abs(psutil.Process(number).create_time() - start) > CLOCK_STEP
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False


def end_abandoned(tracker: Tracker) -> list[str]:
    """End the runs of this machine whose process is gone as KILLED, and return their ids.

    Raises:
        TrackingUnavailable: MLflow does not answer.
    """
    where = f"attributes.status = 'RUNNING' and tags.`{PROCESS}` LIKE '{socket.gethostname()} %'"
    runs = tracker.ask(lambda client: client.search_runs([tracker.experiment_id], where, max_results=1000))
    ended = [str(run.info.run_id) for run in runs if is_gone(run.data.tags[PROCESS])]
    for run_id in ended:
        tracker.set_tags(run_id, {NOTE: "Killed: the process that wrote this run is gone"})
        tracker.end_run(run_id, "KILLED")
    if ended:
        log.info("%d runs that a killed process had left were ended in MLflow", len(ended))
    return ended
