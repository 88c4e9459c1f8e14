"""Run parts of large work on a Dask cluster: an existing one, or a local one for the time of the work.

Arrays that workers read are files in a shared folder. A file is written once, never changed, and opened as a memory
map. A worker's result returns through Dask, and the fitting process puts it in its place. So no file has two writers,
which network file systems do not handle correctly. The price is that every result passes through one process, which
holds at most two results per worker thread at a time.

The client runs in the process that asks, and so does the cluster if no address is given: both end with that process.
Shards and items are plain Dask tasks, because they are too many and too short for Prefect tasks. Prefect's Dask runner
starts or finds the cluster.

If a worker dies, another worker repeats its shard. The fit ends with an error if a shard has killed several workers, no
worker is left, or the scheduler is gone; the folder is deleted with the fit.

Pickle a function for workers that share a folder: large arrays become files, which workers map to memory.
"""

from __future__ import annotations

import io
import logging
import pickle
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import find_spec
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from models.base import ModelError
from models.npy_files import load_array, save_array
from models.threads import in_order

if TYPE_CHECKING:
    from distributed import Client, Future

FOLDER = "dask-"
"""Prefix of the folders of shared arrays; remaining folders may be deleted when no fit is running."""

INSTALL = "pip install -c constraints.txt -e '.[dask]'"
CONNECT_SECONDS = 20
PATIENCE_SECONDS = 60.0
"""Seconds without any worker after which a fit is given up."""

_LOOK_SECONDS = 2.0

LARGE = 1 << 16
"""Size in bytes from which an array is shared as a file instead of being pickled with the function."""


@contextmanager
def dask_engine(address: str, processes: int, folder: Path) -> Iterator[DaskEngine]:
    """Open an engine (`training.ngram.engine`) that runs shards on a Dask cluster.

    Args:
        address: Address of the scheduler; "" starts a cluster on this machine.
        processes: Number of worker processes of the local cluster.
        folder: Parent of the folder of shared arrays; every worker must see it under the same path.

    Raises:
        ModelError: Dask is not installed, or the scheduler does not answer.
        OSError: The folder cannot be written; the engine raises it too if the disk is full.
    """
    require_dask()
    from prefect_dask import DaskTaskRunner

    logging.getLogger("prefect.task_runner.dask").setLevel(logging.WARNING)
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("distributed"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # relevant problems are raised as errors
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=FOLDER, dir=folder.resolve(), ignore_cleanup_errors=True) as shared:
        local = {
            "n_workers": processes, "threads_per_worker": 1, "processes": True, "dashboard_address": "127.0.0.1:0",
            # A client of a cluster can run code in it. With TLS and temporary keys only this process is a client.
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
    """Raise an error if Dask is not installed.

    Raises:
        ModelError: `prefect-dask` is not installed.
    """
    if find_spec("prefect_dask") is None:
        raise ModelError(f"the engine 'dask' needs the package prefect-dask: {INSTALL}", kind="input")


class DaskEngine:
    """Engine that runs shards on the workers of a Dask cluster; see `training.ngram.engine.ShardEngine`.

    Args:
        client: Dask client, connected to the scheduler.
        folder: Folder for shared arrays; all workers must see it.
    """

    def __init__(self, client: Client, folder: Path) -> None:
        self.client = client
        self.folder = folder
        self._paths: dict[int, str] = {}
        self._files = count()

    def share(self, array: np.ndarray) -> np.ndarray:
        """Write the array to a separate file and return a read-only memory map; the file is deleted with the map."""
        if len(array) == 0:
            return array
        path = self._new("npy")
        save_array(path, array)
        shared = mapped(str(path))
        self._paths[id(shared)] = str(path)
        weakref.finalize(shared, self._forget, id(shared), path).atexit = False
        return shared

    def path(self, array: np.ndarray) -> str | None:
        """Return the file path of a shared array; None for any other array."""
        return self._paths.get(id(array))

    def each(self, work: Callable[[int], Any], place: Callable[[int, Any], None], shards: int) -> None:
        """Run the shards on workers, in any order, and call *place* with each result as it arrives.

        Raises:
            ModelError: Workers died repeatedly, or are all gone; the scheduler is gone; a worker does not see the
                folder or lacks our code.
        """
        step, left, waiting = self._new("step"), iter(range(shards)), dict[Any, int]()
        content, kept = pickled(work, self)
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

    def ordered(self, function: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[Any]:
        """Yield `function(item)` for every item, in the order of the items; see `models.threads.FanOut`.

        Function and items are files that a worker reads; so the scheduler passes on nothing but paths and results.

        Raises:
            ModelError: As `each`.
        """
        step = self._new("function")
        step.write_bytes(pickle.dumps(function))
        try:
            yield from in_order(partial(self._hand_out, step), items, lambda: 2 * max(1, self._threads()))
        finally:
            step.unlink(missing_ok=True)

    def _hand_out(self, step: Path, item: Any) -> _Handed:
        file = self._new("item")
        file.write_bytes(pickle.dumps(item, pickle.HIGHEST_PROTOCOL))
        return _Handed(self, self.client.submit(_run_item, str(step), str(file), pure=False), file)

    def _new(self, kind: str) -> Path:
        return self.folder / f"{next(self._files)}.{kind}"  # never used again: a worker must not read older contents

    def _forget(self, number: int, path: Path) -> None:
        self._paths.pop(number, None)
        path.unlink(missing_ok=True)

    def _threads(self) -> int:
        """Return the number of worker threads of the cluster; 0 if the scheduler does not answer."""
        try:
            return sum(self.client.nthreads().values())
        except (OSError, ValueError, RuntimeError):
            return 0

    def _finished(self, waiting: list[Future]) -> list[Future]:
        """Wait for at least one done future and return all done ones; raise ModelError if none can finish any more."""
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
                    f"no Dask worker has connected for {PATIENCE_SECONDS:.0f} seconds; start some with `dask worker "
                    f"{self.client.scheduler.address}` and run again"
                )

    def _gone(self) -> ModelError:
        return ModelError("the Dask scheduler has stopped; check its log, start it and run again")

    def _result(self, future: Future) -> Any:
        from concurrent.futures import CancelledError

        from distributed import KilledWorker

        try:
            return future.result()
        except KilledWorker as error:
            raise ModelError(
                f"a shard ended {error.allowed_failures + 1} Dask workers, the last at "
                f"{error.last_worker.address}; most likely they ran out of memory: give them more, or start them with "
                "--memory-limit 0 if only memory-mapped files exceed it, and run again"
            ) from error
        except CancelledError as error:
            raise self._gone() from error
        except FileNotFoundError as error:
            raise ModelError(
                f"a Dask worker does not see {self.folder}; it must be on a disk that all machines share, under the "
                "same path",
                kind="input",
            ) from error
        except (ImportError, AttributeError, TypeError, RuntimeError) as error:
            raise ModelError(
                f"a Dask worker cannot process a shard: {error}; scheduler and workers need the same ReviewLM installed"
            ) from error


class _Handed:
    """An item that a worker has, with its file."""

    def __init__(self, engine: DaskEngine, future: Future, file: Path) -> None:
        self._engine, self._future, self._file = engine, future, file

    def result(self) -> Any:
        try:
            self._engine._finished([self._future])
            found = self._engine._result(self._future)
            if isinstance(found, _Failed):
                raise found.error
            return found
        finally:
            self._file.unlink(missing_ok=True)

    def cancel(self) -> None:
        with suppress(Exception):
            self._engine.client.cancel([self._future])
        self._file.unlink(missing_ok=True)


def _run(step: str, shard: int) -> Any:
    """Run one shard on a worker. Nothing is cached between shards: mapping the files takes only a millisecond."""
    return pickle.loads(Path(step).read_bytes())(shard)


@dataclass(frozen=True)
class _Failed:
    """The error of an item, apart from those of Dask and of reading its files."""

    error: Exception


@lru_cache(maxsize=2)
def _function(step: str) -> Callable[[Any], Any]:
    return pickle.loads(Path(step).read_bytes())  # type: ignore[no-any-return]


def _run_item(step: str, item: str) -> Any:
    """Apply a function to one item on a worker."""
    function, value = _function(step), pickle.loads(Path(item).read_bytes())
    try:
        return function(value)
    except Exception as error:
        return _Failed(error)


class Shares(Protocol):
    """An engine that keeps arrays as files; see `training.ngram.engine.ShardEngine`."""

    def share(self, array: np.ndarray) -> np.ndarray:
        """Write an array to a file, and return its memory map."""
        ...

    def path(self, array: np.ndarray) -> str | None:
        """Return the file of a shared array."""
        ...


class ArrayPickler(pickle.Pickler):
    """Pickler that writes shared and large arrays as file paths; files of large arrays exist as long as *kept*."""

    def __init__(self, file: io.BytesIO, engine: Shares) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.engine = engine
        self.kept: list[np.ndarray] = []

    def reducer_override(self, value: Any) -> Any:
        """Replace an array that has a file by a call that maps the file."""
        if not isinstance(value, np.ndarray):
            return NotImplemented
        path = self.engine.path(value)
        if path is None and value.nbytes >= LARGE:
            self.kept.append(self.engine.share(value))
            path = self.engine.path(self.kept[-1])
        return NotImplemented if path is None else (mapped, (path,))


def pickled(work: Callable[[int], Any], engine: Shares) -> tuple[bytes, list[np.ndarray]]:
    """Return a function as bytes, and the arrays whose files must stay as long as workers read it."""
    file = io.BytesIO()
    pickler = ArrayPickler(file, engine)
    pickler.dump(work)
    return file.getvalue(), pickler.kept


def mapped(path: str) -> np.ndarray:
    """Map the file of an array to memory."""
    return load_array(path, "r").view(np.ndarray)
