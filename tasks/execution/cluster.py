"""Connect to a Ray cluster (`execution.cluster`), and run shards and items of large work on it or on threads here.

Arguments and results are put and got as `partitions.py` says. Shards are plain Ray tasks: they are too many and too
short for Prefect's. A shard whose worker or node is lost runs again on another.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import signal
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import psutil

from reviewlm.core.config.sections.execution import ExecutionConfig
from reviewlm.core.environment import available_cores, busy, numpy_variables
from reviewlm.core.errors import ClusterFailed, ConfigError, ReviewLMError
from reviewlm.core.extras import require_library
from reviewlm.core.processes import interrupts
from reviewlm.models.dataflow import FilePiece, Writer
from reviewlm.models.threads import FanOut, in_order, map_in_order
from reviewlm.tasks.execution.code_version import running_code
from reviewlm.tasks.execution.node_files import require_code
from reviewlm.tasks.execution.partitions import (
    PartitionFolder,
    SeenFile,
    keep,
    keep_file,
    new_folder,
    opened,
    remove_folder,
    require_seen,
    sees,
    write_seen,
)

LOCAL = "local"
"""Address of a cluster of this process on this machine alone."""
AUTO = "auto"
"""Address of the cluster that this machine is a node of."""
CONNECT_SECONDS = 10.0
STARTS = 3
"""Attempts to start a cluster of this machine."""
HEAD_FAILURES = 5
"""Vain attempts to reach the head, one after another, until it counts as lost."""
LOOPBACK = "127.0.0.1"
PRINTER = "print_to_stdstream"
"""Function of Ray that prints messages of nodes."""
LOST = re.compile(r"The node with node id: \S+ and address: (\S+) and node name: .* marked dead")
"""What Ray says of a node that is lost."""
log = logging.getLogger(__name__)
_lock = threading.Lock()


def is_installed() -> bool:
    """Return whether the package ray is there."""
    return find_spec("ray") is not None


def connect(address: str) -> Any:
    """Return the module `ray`, connected to a cluster: once in a process, which leaves it when it ends.

    Args:
        address: As in `execution.cluster`; not empty.

    Raises:
        ConfigError: Ray is not installed, or this is no address of a cluster.
        ClusterFailed: No cluster answers there, or this machine is too busy to start one: trying again may help.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # these are read when ray is imported
    if address != LOCAL:  # whose nodes would write no logs either
        # Else Ray's core writes to the terminal what it mends.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    require_library(
        "ray",
        "ray",
        "A cluster needs Ray",
        where="execution.cluster",
        value=address,
    )
    if address == LOCAL or _host_and_port(address)[0] in (LOOPBACK, "localhost"):
        # All ports are on the loopback address then. Ray would replace it by the machine's own.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

    if address == LOCAL:
        # Without a token here, Ray would write one to the user's folder.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        # A busy machine needs more than Ray's 30 s for the node and 5 s for the process that listens; and other work
        # of this machine would hold back workers of Ray's niceness of 15 tenfold.
        limits = {
            "raylet_start_wait_time_s": 120,
            "SERVE_PROXY_READY_CHECK_TIMEOUT_S": 300,
            "worker_niceness": 0,
        }
        for name, value in limits.items():
            os.environ.setdefault(f"RAY_{name}", str(value))

    import ray

    with _lock:
        if not ray.is_initialized():
            logging.getLogger("ray").setLevel(logging.ERROR)
            _log_messages_of_nodes()
            quiet: dict[str, Any] = {"configure_logging": False, "log_to_driver": False}
            if address == LOCAL:
                quiet |= {
                    "num_cpus": available_cores(),
                    "include_dashboard": False,
                    "_node_ip_address": LOOPBACK,
                }
            else:  # nodes that were started elsewhere, by other commands
                quiet["runtime_env"] = {"env_vars": numpy_variables()}
            try:
                if address not in (LOCAL, AUTO):  # Ray itself would ask for a minute and longer
                    socket.create_connection(_host_and_port(address), CONNECT_SECONDS).close()
                if address == LOCAL:
                    _start_local(lambda: ray.init(address, **quiet))
                else:
                    _start(lambda: ray.init(address, **quiet))
            except Exception as error:  # Ray raises a bare one where a node is too slow
                raise _why_unanswered(address, error) from error
            head = address
            if "://" not in address:
                head = ray.get_runtime_context().gcs_address

            place = _host_and_port(head)
            connected = ray.is_initialized
            threading.Thread(
                target=_end_without_head,
                args=(place, connected),
                daemon=True,
            ).start()
            # Ray's core has replaced the handler of SIGTERM, and would abort.
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM) or signal.SIG_DFL)

    return ray


def _log_messages_of_nodes() -> None:
    """Log what Ray prints on standard output when a node dies, whatever is set: a hundred lines of the node's own log.

    Of that, a user needs one line.
    """
    worker: Any = sys.modules.get("ray._private.worker")

    def note(data: Mapping[str, Any], *ignored: object, **also_ignored: object) -> None:
        lines = "\n".join(map(str, data.get("lines", ())))
        log.debug("Ray: %s", lines)
        if lost := LOST.match(lines):
            log.warning(
                "a node of the cluster (%s) is lost; its work is done again elsewhere", lost[1]
            )

    if hasattr(worker, PRINTER):
        setattr(worker, PRINTER, note)


def _why_unanswered(address: str, error: Exception) -> ReviewLMError:
    """Return why no cluster answers: a setting that a person must mend, or one that may answer at the next attempt."""
    wrong = isinstance(error, (socket.gaierror, ValueError, OverflowError))
    kind: type[ReviewLMError] = ConfigError if wrong else ClusterFailed
    causes = [" ".join(str(error).split()) or type(error).__name__]
    remedy = "start one with `ray start --head` (docs/how_to/cluster.md); `local` needs none"
    if address == LOCAL:
        causes += filter(None, [busy()])
        remedy = "run the command again; without a cluster: --set execution.cluster="

    return kind(
        "No Ray cluster answers",
        where="execution.cluster",
        value=address,
        cause="; ".join(causes),
        remedy=remedy,
    )


def _start_local(init: Callable[[], Any]) -> None:
    """Start a cluster of this machine; try again where the machine is too busy.

    A node of Ray 2.60 gives up when its two agents, which load for a second of processor time each, have not answered
    within 15 s. No setting changes that. At the next attempt their files are in memory.
    """
    before = set(psutil.Process().children())
    interrupts.at_interrupt(lambda: _kill(set(psutil.Process().children()) - before))
    for left in range(STARTS - 1, -1, -1):
        try:
            _start(init)
            return
        except Exception as error:
            if not left:
                raise
            cause = busy() or " ".join(str(error).split())
            log.warning("Ray has not started here (%s): it is started again", cause)
            _kill(child for child in set(psutil.Process().children()) - before if _is_of_ray(child))


def _is_of_ray(process: psutil.Process) -> bool:
    """Return whether a process is one of a node: other parts of this process may have started children meanwhile."""
    with suppress(psutil.Error):
        return any("/ray/" in part for part in process.cmdline())
    return False


def _start(init: Callable[[], Any]) -> None:
    """Call *init* in a thread that stays.

    In the main thread Ray would take SIGTERM for itself, and its processes end with the thread that started them.
    """
    result = Future[None]()

    def stay() -> None:
        try:
            init()
        except BaseException as error:
            result.set_exception(error)
        else:
            result.set_result(None)
            threading.Event().wait()

    threading.Thread(
        target=stay,
        name="ray",
        daemon=True,
    ).start()
    result.result()


def _kill(children: Iterable[psutil.Process]) -> None:
    """Kill children with all that they have started: Ray's agents would outlive their node for a minute."""
    for child in children:
        with suppress(psutil.Error):
            child.suspend()  # so that it starts no more
            for one in (*child.children(recursive=True), child):
                one.kill()


def _end_without_head(
    place: tuple[str, int],
    connected: Callable[[], bool],
    pause: float = CONNECT_SECONDS / 2,
) -> None:
    """End this process when the head of the cluster is lost: Ray would do so after a minute, without cleaning up."""
    failures = 0
    while failures < HEAD_FAILURES:
        time.sleep(pause)
        if not connected():  # it has left the cluster
            return
        try:
            socket.create_connection(place, CONNECT_SECONDS).close()
            failures = 0
        except OSError:
            failures += 1

    line = "The head of the Ray cluster at {}:{} is lost; checkpoints are here, so run the same command to resume"
    interrupts.end_run(line.format(*place), ClusterFailed.exit_code)


def _host_and_port(address: str) -> tuple[str, int]:
    try:
        place = urlsplit(address if "://" in address else f"//{address}")
        return place.hostname or "", place.port or 0
    except ValueError as error:
        raise ConfigError(
            "This is no address of a Ray cluster",
            where="execution.cluster",
            value=address,
            cause=str(error),
            remedy="write HOST:PORT, `auto` or `local`",
        ) from error


def require_cluster(execution: ExecutionConfig) -> None:
    """Refuse, at the start of a run, a cluster that does not answer, or a node that does not see the storage."""
    engine_of(execution)


def has_gpus(ray: Any, execution: ExecutionConfig) -> bool:
    """Return whether the networks of a run use GPUs of the cluster."""
    return execution.device != "cpu" and ray.cluster_resources().get("GPU", 0) > 0


def address_for_children(address: str) -> str | None:
    """Return where a child process reaches the cluster of this one; None without a cluster."""
    if not address:
        return None
    if address == LOCAL:
        return str(connect(address).get_runtime_context().gcs_address)
    return address


class RayEngine:
    """Engine that runs shards and steps on the workers of a cluster; see `reviewlm.models.dataflow.Dataflow`.

    Results of steps stay in the object store of the node that made them; if it is lost, Ray makes them again elsewhere.
    Or they are in a storage that all nodes reach.

    Args:
        address: As in `execution.cluster`.
        storage: As in `execution.storage`.

    Raises:
        ConfigError, ClusterFailed: As `connect`; a node does not see the storage.
    """

    def __init__(self, address: str, storage: str = "") -> None:
        self.address = address
        self._ray = connect(address)
        self._code = running_code().whole()
        self._step = self._ray.remote(_step)
        self._gather_step = self._ray.remote(_gather_step)
        self._folder: PartitionFolder | None = None
        if storage:
            self._folder = new_folder(storage)
            weakref.finalize(self, remove_folder, self._folder)
            require_seen(self._ray, self._folder)

    def each(
        self,
        work: Callable[[int], Any],
        place: Callable[[int, Any], None],
        shards: int,
    ) -> None:
        """Run the shards on workers, and call *place* with the result of each in their order.

        Raises:
            ConfigError: A node has other code.
            ClusterFailed: Workers died repeatedly; the cluster is gone.
        """
        for shard, result in enumerate(self.ordered(work, range(shards))):
            place(shard, result)

    def ordered(
        self,
        function: Callable[[Any], Any],
        items: Iterable[Any],
        /,
        gpus: float = 0,
    ) -> Iterator[Any]:
        """Yield `function(item)` for every item, in the order of the items; see `reviewlm.models.threads.FanOut`.

        The arrays of *function* travel to each node once, and its workers read them where they lie.

        Args:
            gpus: GPUs of each item, besides a core.

        Raises:
            ClusterFailed: As `each`.
        """
        there = self.put(function)

        def hand_out(item: Any) -> SimpleNamespace:
            reference = self.submit(_apply, there, keep(item, self._folder), gpus=gpus)[0]
            return SimpleNamespace(
                result=partial(self._result, reference), cancel=partial(self._ray.cancel, reference)
            )

        yield from in_order(hand_out, items, lambda: 2 * self.workers(gpus))

    def workers(self, gpus: float = 0) -> int:
        """Return how many steps can run at the same time: the number of cores of the cluster, or of its shares of GPUs."""
        there = self._ray.cluster_resources()
        places = there.get("GPU", 0) / gpus if gpus else there.get("CPU", 1)
        return max(1, int(places))

    def put(self, value: Any) -> Any:
        """Return a reference to a value."""
        return self._ray.put(keep(value, self._folder))

    def keep_file(self, piece: FilePiece) -> Any:
        """Return a handle that a worker opens to read the bytes of a file."""
        return keep_file(piece, self._folder)

    def put_file(self, piece: FilePiece) -> Any:
        """Return a reference to the bytes of a file, or what stands for them."""
        kept = self.keep_file(piece)
        if isinstance(kept, SeenFile):  # small, so it travels with its step
            return kept
        return self._ray.put(kept)

    def submit(
        self,
        function: Any,
        *arguments: Any,
        results: int = 1,
        gpus: float = 0,
    ) -> list[Any]:
        """Have a worker call a function, and return references to the values in the sequence that it returns.

        Args:
            gpus: GPUs of the step, besides a core.
        """
        step = self._step
        if gpus:  # one call in a process, since CUDA keeps its first GPU and memory
            step = self._ray.remote(max_calls=1)(_step)
        step = step.options(
            num_cpus=1,
            num_gpus=gpus,
            num_returns=results,
        )
        references = step.remote(self._code, self._folder, function, *arguments)
        if results == 1:
            return [references]
        return list(references)

    def fetch(self, references: Iterable[Any]) -> Iterator[Any]:
        """Yield the values of references, in their order.

        Raises:
            ClusterFailed: As `each`.
        """
        yield from map(self._result, references)

    def gather(self, function: Callable[[Iterator[Any]], Any], parts: Iterable[Any]) -> Any:
        """Call a function with the values of references, on a worker if these are in a storage; return its result.

        Raises:
            ClusterFailed: As `each`.
        """
        if self._folder is None:  # a worker would need all values at once
            return function(self.fetch(parts))
        there = self.put(function)
        return self._result(self._gather_step.remote(self._code, there, *parts))

    def write(
        self,
        folder: Path,
        writer: Writer,
        parts: Iterable[Any],
    ) -> Any:
        """Write files of a folder from the values of references, on a worker if the folder lies in the storage.

        Raises:
            ClusterFailed: As `each`.
        """
        if not self.sees(folder):
            return writer(folder, self.fetch(parts))
        return self.gather(partial(write_seen, folder.absolute(), writer), parts)

    def folder_beside(self, home: Path) -> Path | None:
        """Return a folder for files of a home that lies in the storage, until they are moved there; else None."""
        if self._folder is None or not self.sees(home):
            return None
        return Path(self._folder.path)

    def sees(self, path: Path) -> bool:
        """Return whether all workers see a file or folder of this machine, since it lies in the storage."""
        return self._folder is not None and sees(self._folder.storage, path)

    def _result(self, reference: Any) -> Any:
        try:
            return opened(self._ray.get(reference))
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self._ray.exceptions.RayError as error:
            raise ClusterFailed(
                "The cluster cannot do its part of the work",
                where=self.address,
                cause=str(error).splitlines()[0],
                remedy="give its workers more memory, the same commit; without a cluster: --set execution.cluster=",
            ) from error


def _step(
    code: str,
    folder: PartitionFolder | None,
    function: Any,
    *arguments: Any,
) -> Any:
    """Call a function on a worker that has the code of the run.

    Ray takes a single result as it is, and several from a sequence.
    """
    require_code(code)
    results = opened(function)(*map(opened, arguments))
    kept = tuple(keep(result, folder) for result in results)
    return kept[0] if len(kept) == 1 else kept


def _gather_step(code: str, function: Any, *parts: Any) -> Any:
    """Call a function on a worker with values of a storage; one at a time is in its memory."""
    require_code(code)
    return opened(function)(map(opened, parts))


def _apply(function: Callable[[Any], Any], item: Any) -> list[Any]:
    return [function(item)]


def engine_of(execution: ExecutionConfig) -> RayEngine | None:
    """Return the cluster that a configuration names, as an executor that keeps results; None: this machine.

    Raises:
        ConfigError, ClusterFailed: As `RayEngine`.
    """
    if execution.cluster:
        return RayEngine(execution.cluster, execution.storage)
    return None


def fan_out(execution: ExecutionConfig, engine: RayEngine | None) -> FanOut:
    """Return the executor of a cluster, or threads of this process. All give the same results in the same order."""
    if engine:
        return engine.ordered
    return partial(map_in_order, workers=execution.threads or available_cores())
