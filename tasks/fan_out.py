"""Select the executor of parallel work (`execution.engine`): threads of this process, or a Dask cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from core.config.run_config import RunConfig
from core.environment import available_cores, chosen_device
from core.model_errors import converted_errors
from models.threads import FanOut, ordered
from tasks.dask_engine import dask_engine


@contextmanager
def fan_out(config: RunConfig, folder: Path) -> Iterator[FanOut]:
    """Yield the executor that `execution.engine` names. All give the same results in the same order.

    Args:
        config: Names the engine, its address and the number of threads, or of processes of a cluster on this machine.
        folder: Folder for files of a Dask cluster, which are removed at the end. All its machines must see it under
            the same path.

    Raises:
        FitError, InputError: There is no such cluster. If it breaks down later, its `ModelError` is raised.
    """
    chosen = config.execution
    if chosen.engine == "threads":
        yield partial(ordered, workers=chosen.threads or available_cores())
        return
    processes = chosen.threads or max(1, available_cores() // chosen.workers)
    with ExitStack() as stack:
        with converted_errors(chosen.dask_address):
            engine = stack.enter_context(dask_engine(chosen.dask_address, processes, folder))
        yield engine.ordered


@contextmanager
def fan_out_scores(config: RunConfig, folder: Path) -> Iterator[FanOut]:
    """Yield the executor for batches that a model scores; arguments and errors as for `fan_out`.

    Instead of threads and beside a GPU it is this thread: the products of a model use all cores, or the GPU, already.
    """
    if config.execution.engine == "threads" or chosen_device(config.execution.device) != "cpu":
        yield map
    else:
        with fan_out(config, folder) as engine:
            yield engine
