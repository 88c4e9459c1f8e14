"""Select the executor of parallel work: threads of this process, or the workers of `execution.cluster`."""

from __future__ import annotations

from functools import partial

from core.config.run_config import RunConfig
from core.environment import available_cores, chosen_device
from models.threads import FanOut, ordered
from tasks.cluster import RayEngine


def fan_out(config: RunConfig) -> FanOut:
    """Return the executor that a configuration names. All give the same results in the same order.

    Args:
        config: Names the cluster and the number of threads.

    Raises:
        ConfigError: No cluster answers. If it breaks down later, a `ModelError` is raised.
    """
    if config.execution.cluster:
        return RayEngine(config.execution.cluster).ordered
    return partial(ordered, workers=config.execution.threads or available_cores())


def fan_out_scores(config: RunConfig) -> FanOut:
    """Return the executor for batches that a model scores; errors as for `fan_out`.

    Instead of threads and beside a GPU it is this thread: the products of a model use all cores, or the GPU, already.
    """
    if not config.execution.cluster or chosen_device(config.execution.device) != "cpu":
        return map
    return fan_out(config)
