"""The shards of an n-gram fit on a Dask cluster: one that is there, or a local one for the time of the fit.

Arrays that workers read are files in a folder that all of them see: written once, never changed, opened as memory maps.
What a worker makes of its shard comes back through Dask, and the process that fits puts it in its place. So no file has
two writers, which file systems between machines do not get right; the price is that every result passes through one
process. It holds no more results at a time than two per worker.

Client and, where no address is given, cluster live in the process that fits: it holds what is put together, and they
end with it. Shards are plain Dask tasks, far too many and too short to be Prefect's; Prefect's runner for Dask starts
or finds the cluster.

A shard whose worker dies is done again by another. The fit ends with an error where a shard has taken several workers
with it, no worker is left, or the scheduler is gone; the folder goes with it.
"""

from __future__ import annotations

import io
import logging
import pickle
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.base import ModelError
from models.ngram.counting.array_allocator import save_array

if TYPE_CHECKING:
    from distributed import Client, Future

FOLDER = "dask-"
"""How the folders of shared arrays begin; what is left of them may be deleted when nobody fits."""

INSTALL = "pip install 'reviewlm[dask]'"
CONNECT_SECONDS = 20
PATIENCE_SECONDS = 60.0
"""So long no worker may be there before a fit is given up."""

_LOOK_SECONDS = 2.0
LARGE = 1 << 16
"""Bytes from which on an array lies in a file, and does not travel with the step."""


@contextmanager
def dask_engine(address: str, processes: int, folder: Path) -> Iterator[DaskEngine]:
    """Open an engine (`models.ngram.engine`) that does shards on a Dask cluster.

    Args:
        address: Of the scheduler; "" starts a cluster on this machine.
        processes: Of that cluster's workers.
        folder: Where the folder of shared arrays is made; every worker must see it under this name.

    Raises:
        ModelError: Dask is not installed, or the scheduler does not answer.
        OSError: The folder cannot be written; so says the engine too when it is full.
    """
    require_dask()
    from prefect_dask import DaskTaskRunner

    logging.getLogger("prefect.task_runner.dask").setLevel(logging.WARNING)
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("distributed"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters comes as an error
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=FOLDER, dir=folder.resolve(), ignore_cleanup_errors=True) as shared:
        local = {
            "n_workers": processes, "threads_per_worker": 1, "processes": True, "dashboard_address": "127.0.0.1:0",
            # Whoever can talk to a cluster can run code in it: with TLS and keys of its own only this process can.
            "security": True,
            "local_directory": shared, "silence_logs": logging.CRITICAL, "memory_limit": 0,
        }  # fmt: skip
        where: dict[str, Any] = {"address": address} if address else {"cluster_kwargs": local}
        with DaskTaskRunner(**where, client_kwargs={"timeout": CONNECT_SECONDS}) as runner:
            try:
                client = runner.client
            except (OSError, ValueError) as error:
                name = f"scheduler answers at {address}" if address else "cluster can be started on this machine"
                advice = "start one with `dask scheduler`, or leave the address out for a local cluster"
                raise ModelError(f"no Dask {name}: {error}; {advice}") from error
            yield DaskEngine(client, Path(shared))


def require_dask() -> None:
    """Complain where Dask is not installed.

    Raises:
        ModelError: It is not.
    """
    if find_spec("prefect_dask") is None:
        raise ModelError(f"the engine 'dask' needs the package prefect-dask: {INSTALL}", kind="input")


class DaskEngine:
    """Does shards on the workers of a cluster; see `models.ngram.engine.Engine`.

    Args:
        client: Connected to the scheduler.
        folder: For shared arrays; seen by all workers.
    """

    def __init__(self, client: Client, folder: Path) -> None:
        self.client = client
        self.folder = folder
        self._paths: dict[int, str] = {}
        self._files = 0

    def share(self, array: np.ndarray) -> np.ndarray:
        """Write the array into a file of its own and return a read-only map of it; the file goes when the map does.

        Raises:
            OSError: The folder has no room.
        """
        if len(array) == 0:
            return array
        path = self._new("npy")
        save_array(path, array)
        shared = _mapped(str(path))
        self._paths[id(shared)] = str(path)
        weakref.finalize(shared, self._forget, id(shared), path).atexit = False
        return shared

    def path(self, array: np.ndarray) -> str | None:
        """Return the file of a shared array; None for any other array."""
        return self._paths.get(id(array))

    def each(self, work: Callable[[int], Any], place: Callable[[int, Any], None], shards: int) -> None:
        """Do the shards on workers, in any order, and place each as it comes.

        Raises:
            ModelError: Workers died again and again, or are all gone; the scheduler is gone; a worker does not see
                the folder or lacks our code.
        """
        step, left, waiting = self._new("step"), iter(range(shards)), dict[Any, int]()
        content, kept = _pickled(work, self)
        step.write_bytes(content)
        try:
            while True:
                room = 2 * max(1, self._threads())
                for shard in islice(left, max(0, room - len(waiting))):
                    waiting[self.client.submit(_run, str(step), shard, pure=False)] = shard
                if not waiting:
                    return
                for future in self._finished(list(waiting)):
                    place(waiting.pop(future), self._result(future))
        finally:
            with suppress(Exception):
                self.client.cancel(list(waiting))
            step.unlink(missing_ok=True)
            kept.clear()

    def _new(self, kind: str) -> Path:
        self._files += 1  # never the same name twice: nobody must find an older file's contents
        return self.folder / f"{self._files}.{kind}"

    def _forget(self, number: int, path: Path) -> None:
        self._paths.pop(number, None)
        path.unlink(missing_ok=True)

    def _threads(self) -> int:
        """Return how many shards the workers do at a time; 0 where nobody answers."""
        try:
            return sum(self.client.nthreads().values())
        except (OSError, ValueError, RuntimeError):
            return 0

    def _finished(self, waiting: list[Future]) -> list[Future]:
        """Wait until something is done, or nothing can be any more."""
        from concurrent.futures import CancelledError

        from distributed import wait

        last_seen = time.monotonic()
        while True:
            try:
                with self.client.as_current():
                    return list(wait(waiting, timeout=_LOOK_SECONDS, return_when="FIRST_COMPLETED").done)
            except TimeoutError:
                pass
            except CancelledError as error:
                raise self._gone() from error
            if self.client.status not in ("running", "connecting"):
                raise self._gone()
            if self._threads():
                last_seen = time.monotonic()
            elif time.monotonic() - last_seen > PATIENCE_SECONDS:
                raise ModelError(
                    f"no Dask worker has been there for {PATIENCE_SECONDS:.0f} seconds; start some with `dask worker "
                    f"{self.client.scheduler.address}` and run again"
                )

    def _gone(self) -> ModelError:
        return ModelError("the Dask scheduler is gone; look into its log, start it and run again")

    def _result(self, future: Future) -> Any:
        from concurrent.futures import CancelledError

        from distributed import KilledWorker

        try:
            return future.result()
        except KilledWorker as error:
            raise ModelError(
                f"a shard took {error.allowed_failures + 1} Dask workers with it, the last at "
                f"{error.last_worker.address}; most likely they wanted memory: give them more, or --memory-limit 0 "
                "where only maps of files count, and run again"
            ) from error
        except CancelledError as error:
            raise self._gone() from error
        except FileNotFoundError as error:
            raise ModelError(
                f"a Dask worker does not see {self.folder}; it must lie where all machines see it, under one name",
                kind="input",
            ) from error
        except (ImportError, AttributeError, TypeError, RuntimeError) as error:
            raise ModelError(
                f"a Dask worker cannot do a shard: {error}; scheduler and workers need the same ReviewLM installed"
            ) from error


class _Pickler(pickle.Pickler):
    """Writes of arrays where they lie, large ones in files, which last as long as *kept*."""

    def __init__(self, file: io.BytesIO, engine: DaskEngine) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.engine = engine
        self.kept: list[np.ndarray] = []

    def reducer_override(self, value: Any) -> Any:
        """Replace an array by the opening of its file."""
        if not isinstance(value, np.ndarray):
            return NotImplemented
        path = self.engine.path(value)
        if path is None and value.nbytes >= LARGE:
            self.kept.append(self.engine.share(value))
            path = self.engine.path(self.kept[-1])
        return NotImplemented if path is None else (_mapped, (path,))


def _pickled(work: Callable[[int], Any], engine: DaskEngine) -> tuple[bytes, list[np.ndarray]]:
    file = io.BytesIO()
    pickler = _Pickler(file, engine)
    pickler.dump(work)
    return file.getvalue(), pickler.kept


def _mapped(path: str) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)


def _run(step: str, shard: int) -> Any:
    """Do a shard; on a worker. Nothing is kept between shards: opening maps takes a millisecond."""
    return pickle.loads(Path(step).read_bytes())(shard)
