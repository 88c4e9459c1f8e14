"""A Ray cluster of a few nodes on this machine, on the loopback address, with pretended GPUs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from reviewlm.tasks.execution.cluster import STARTS

MISSING = "Ray is not installed: pip install -c constraints.txt -e '.[ray]'"
NODE = {
    "num_cpus": 1,
    "num_gpus": 1,
    "node_ip_address": "127.0.0.1",
    "object_store_memory": 80 << 20,
}


def _add_patiently(add: Callable[..., Any], **options: Any) -> Any:
    """Add a node; again where its agents, on a busy machine, have not answered within Ray's 15 seconds."""
    for left in range(STARTS - 1, -1, -1):
        try:
            return add(**options)
        except Exception as error:  # Ray raises a bare one
            if not left or "timed out during startup" not in str(error):
                raise
    raise AssertionError


@contextmanager
def small_cluster(nodes: int, head: int = 0) -> Iterator[Any]:
    """Yield a `ray.cluster_utils.Cluster` with so many nodes of one core and one pretended GPU, beside its head.

    One at a time on this machine: three that started together did not come up.

    Args:
        nodes: Number of nodes, apart from the head.
        head: Cores of the head; it has no GPU.
    """
    # A busy machine starts nodes slowly, and answers slowly; but a node that refuses connections is lost at once.
    # Only the main thread can add one, because Ray sets signal handlers.
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_raylet_start_wait_time_s": "120",
        "RAY_worker_niceness": "0",
        "RAY_AUTH_TOKEN": "0" * 64,
        "RAY_health_check_period_ms": "300",
        "RAY_health_check_timeout_ms": "60000",
    }
    import ray
    from ray.cluster_utils import Cluster

    with FileLock(Path(tempfile.gettempdir()) / "reviewlm-test-cluster.lock"):
        cluster = Cluster(
            initialize_head=True,
            head_node_args={
                **NODE,
                "num_cpus": head,
                "num_gpus": 0,
                "include_dashboard": False,
            },
        )
        try:
            cluster.add_node = partial(_add_patiently, cluster.add_node)
            for _ in range(nodes):
                cluster.add_node(**NODE)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()
