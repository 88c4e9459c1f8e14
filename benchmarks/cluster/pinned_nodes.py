"""Start a Ray cluster on this machine whose nodes have one processor core each, and measure who uses processor time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psutil

NODE: dict[str, Any] = {
    "num_cpus": 1,
    "node_ip_address": "127.0.0.1",
    "include_dashboard": False,
}


@contextmanager
def pinned_nodes(nodes: int, store: int = 1 << 30) -> Iterator[Any]:
    """Yield a `ray.cluster_utils.Cluster` with so many nodes, each on a core of its own; the head has no cores.

    Args:
        nodes: Number of nodes.
        store: Bytes of each node's object store.
    """
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_raylet_start_wait_time_s": "120",
        "RAY_worker_niceness": "0",
        "RAY_AUTH_TOKEN": "0" * 64,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else Ray replaces 127.0.0.1
    }
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            **NODE,
            "num_cpus": 0,
            "object_store_memory": store,
        },
    )
    try:
        for core in range(nodes):
            before = set(raylets())
            cluster.add_node(**NODE, object_store_memory=store)
            for raylet in set(raylets()) - before:
                pin(raylet, core)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def raylets() -> list[psutil.Process]:
    """Return the node managers that this process has started."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if child.name() == "raylet":
                found.append(child)
    return found


def pin(process: psutil.Process, core: int) -> None:
    """Bind a process with its threads and children to one core; children that it starts later inherit this."""
    for one in (process, *process.children(recursive=True)):
        for thread in one.threads():
            with suppress(OSError):
                os.sched_setaffinity(thread.id, {core})


def workers_seconds() -> float:
    """Return the processor seconds of all child processes so far, of those that live."""
    return _seconds(psutil.Process().children(recursive=True))


def node_seconds() -> dict[int, float]:
    """Return the processor seconds so far of each node with its workers, by process id of its manager."""
    found = {}
    for raylet in raylets():
        found[raylet.pid] = _seconds([raylet, *raylet.children(recursive=True)])
    return found


def seconds_by_process() -> list[dict[int, float]]:
    """Return, for each node that is bound to one core, the processor seconds of its processes so far, by process id."""
    found = []
    for raylet in raylets():
        with suppress(psutil.Error):
            if len(raylet.cpu_affinity()) == 1:
                family = (raylet, *raylet.children(recursive=True))
                found.append({one.pid: _seconds([one]) for one in family})
    return found


def _seconds(processes: Sequence[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total
