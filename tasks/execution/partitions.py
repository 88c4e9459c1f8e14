"""Put and get partitions of large work: as objects of Ray's store, or as files of a storage that all nodes reach.

`execution.storage` names a folder or an S3 bucket. What travels through Ray then are names of files: a partition passes
the run's process only if it asks for it, and a lost node takes none with it. Without a storage, values stay in Ray's
object store. Workers and the run's process use the same functions, `keep` and `opened`. Files of this machine that lie in
such a folder, as the home may, stand for themselves.
"""

from __future__ import annotations

import errno
import platform
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from pickle import PickleBuffer
from typing import Any

import numpy as np
import psutil

from reviewlm.core.errors import (
    FULL,
    REFUSED,
    ClusterFailed,
    ConfigError,
    ReviewLMError,
    disk_error,
)
from reviewlm.models.dataflow import FilePiece, Writer

LEAST_BYTES = 64 << 10
"""Smaller values travel with their task: a file would take longer."""
ALIGNMENT = 64
CHECK_SECONDS = 60.0
"""Time for all nodes to look for a file in the storage."""
PREFIX = "reviewlm-partitions"
REMOVALS = 10
"""Attempts to remove a folder into which workers still write what nobody waits for."""
SETTING = "execution.storage"
UNFINISHED = ".tmp-written-"
"""Prefix of a folder in which a node writes files of another one."""


@dataclass(frozen=True)
class Partition:
    """A value in a storage: the file that holds it, and its size."""

    storage: str
    path: str
    size: int

    def read(self) -> Any:
        """Return the value.

        Raises:
            ClusterFailed: The storage does not answer, or the file is not whole.
        """
        with _storage_errors(self.path):
            files, _ = _open_storage(self.storage)
            with files.open_input_file(self.path) as file:
                content = file.read_buffer()
            if content.size != self.size:
                raise OSError(f"{content.size} bytes of {self.size}")
        return _unpack(memoryview(content))


@dataclass(frozen=True)
class SeenFile:
    """Bytes of a file that all nodes see."""

    piece: FilePiece

    def read(self) -> np.ndarray:
        """Return the bytes (uint8); errors as of `Partition`."""
        with _storage_errors(str(self.piece.path)):
            return self.piece.read()


@dataclass(frozen=True)
class PartitionFolder:
    """A folder for the partitions of one engine.

    Args:
        storage: As in `execution.storage`.
        path: The folder, by its name in the storage's file system.
        least: Bytes of the smallest value that becomes a file.
    """

    storage: str
    path: str
    least: int

    def write(self, pieces: list[Any]) -> Partition:
        """Write a packed value into a new file."""
        path = f"{self.path}/{secrets.token_hex(12)}"
        with _storage_errors(path):
            files, _ = _open_storage(self.storage)
            with files.open_output_stream(path) as file:
                size = sum(file.write(piece) for piece in pieces)
        return Partition(self.storage, path, size)


def keep(value: Any, folder: PartitionFolder | None) -> Any:
    """Return a value, or if it is large and there is a folder, the partition that holds it.

    Raises:
        StoreFull, NotWritable, ClusterFailed: The storage does not take it.
    """
    if folder is None:
        return value
    pieces = _pack(value)
    if sum(map(len, pieces)) < folder.least:
        return value
    return folder.write(pieces)


def opened(value: Any) -> Any:
    """Return the value that `keep` or `keep_file` was given."""
    if isinstance(value, Partition | SeenFile):
        return value.read()
    return value


def keep_file(piece: FilePiece, folder: PartitionFolder | None) -> Any:
    """Return the bytes of a file, or what stands for them: its name, if it lies in the storage, or a partition."""
    if folder and sees(folder.storage, piece.path):
        return SeenFile(piece._replace(path=piece.path.absolute()))
    return keep(piece.read(), folder)


def sees(storage: str, path: Path) -> bool:
    """Return whether a file of this machine lies in a storage, so that all nodes see it by its name."""
    root = Path(storage)
    if not root.is_absolute():  # a bucket, or none
        return False
    named = path.absolute().is_relative_to(root)
    return named and path.resolve().is_relative_to(root.resolve())


def write_seen(
    folder: Path,
    writer: Writer,
    values: Iterator[Any],
) -> Any:
    """Write files of a folder in the storage; they appear there whole, also if another node tries again."""
    for left in folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(left, ignore_errors=True)

    work = folder / f"{UNFINISHED}{secrets.token_hex(8)}"
    work.mkdir()
    result = writer(work, values)
    for file in work.iterdir():
        file.replace(folder / file.name)

    work.rmdir()
    return result


def _pack(value: Any) -> list[Any]:
    """Return a value as bytes: the sizes of its parts, its pickle, and its arrays, which are not copied.

    Each part begins at a multiple of `ALIGNMENT`, since compiled kernels refuse arrays that do not.
    """
    from ray import cloudpickle

    buffers: list[PickleBuffer] = []
    content = cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    parts = [content, *(buffer.raw() for buffer in buffers)]
    sizes = [len(parts), *map(len, parts)]
    pieces: list[Any] = []
    for part in (np.array(sizes, "<u8").tobytes(), *parts):
        pieces += [part, bytes(-len(part) % ALIGNMENT)]
    return pieces


def _unpack(content: memoryview) -> Any:
    from ray import cloudpickle

    count = int(np.frombuffer(content, "<u8", 1)[0])
    parts = []
    start = 8 + 8 * count
    for size in np.frombuffer(content, "<u8", count, offset=8).tolist():
        start += -start % ALIGNMENT
        parts.append(content[start : start + size])
        start += size
    return cloudpickle.loads(parts[0], buffers=parts[1:])


@cache
def _open_storage(storage: str) -> tuple[Any, str]:
    """Return the file system of a storage, and the storage's path in it."""
    from pyarrow.fs import FileSystem

    files, path = FileSystem.from_uri(storage)
    return files, path.rstrip("/")


@contextmanager
def _storage_errors(path: str) -> Iterator[None]:
    """Turn errors of the storage into ours, with the name of this node."""
    try:
        yield
    except OSError as error:
        where = f"{path}, on {platform.node()}"
        if error.errno in FULL + REFUSED:
            raise disk_error(error.errno, where, str(error), f"change {SETTING}") from error
        raise ClusterFailed(
            "The storage of the cluster cannot be used",
            where=where,
            cause=str(error),
            remedy=f"run the command again when it answers; without a storage: --set {SETTING}=",
        ) from error


def new_folder(storage: str) -> PartitionFolder:
    """Make a folder for partitions in a storage, and remove those that killed processes of this machine have left.

    Raises:
        ConfigError: This process cannot use the storage.
    """
    try:
        files, root = _open_storage(storage)
        from pyarrow.fs import FileSelector

        here = f"{PREFIX}-{platform.node()}-"
        for found in files.get_file_info(FileSelector(root)):
            if found.base_name.startswith(here) and not _lives(found.base_name):
                with suppress(OSError):  # another process removes it
                    files.delete_dir(found.path)

        process = psutil.Process()
        name = f"{here}{process.pid}-{int(process.create_time())}-{secrets.token_hex(4)}"
        folder = PartitionFolder(storage, f"{root}/{name}", LEAST_BYTES)
        files.create_dir(folder.path, recursive=False)
        return folder
    except (OSError, ValueError) as error:
        raise _unseen(storage, platform.node(), error) from error


def remove_folder(folder: PartitionFolder) -> None:
    """Remove a folder with its partitions, if the storage answers; again where a worker has written meanwhile."""
    files, _ = _open_storage(folder.storage)
    for _ in range(REMOVALS):
        try:
            files.delete_dir(folder.path)
        except OSError as error:
            if error.errno == errno.ENOTEMPTY:
                continue
        return


def _lives(name: str) -> bool:
    """Return whether the process that has made a folder still runs here."""
    with suppress(psutil.Error, ValueError):
        pid, began = map(int, name.rsplit("-", 3)[1:3])
        return int(psutil.Process(pid).create_time()) == began
    return False


def look_for(partition: Partition, folder: PartitionFolder) -> str:
    """Return why a node cannot read and write partitions; "" if it can; on this node."""
    try:
        partition.read()
        folder.write([b"seen"])
    except ReviewLMError as error:
        return error.cause
    return ""


def require_seen(ray: Any, folder: PartitionFolder) -> None:
    """Raise ConfigError with the name of a node that does not see a storage."""
    here = folder.write(_pack(folder))
    look = ray.remote(num_cpus=0)(look_for)
    affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    looks = {}
    for node in ray.nodes():
        if node["Alive"]:
            place = affinity(node["NodeID"], soft=False)
            looks[node["NodeManagerHostname"], node["NodeManagerAddress"]] = look.options(
                scheduling_strategy=place
            ).remote(here, folder)

    for (name, address), reference in looks.items():
        try:
            cause = ray.get(reference, timeout=CHECK_SECONDS)
        except ray.exceptions.GetTimeoutError:
            cause = f"it has not answered within {CHECK_SECONDS:.0f} seconds"
        except ray.exceptions.RayError:
            # The node is lost meanwhile, or has other code, which is told later.
            continue
        if cause:
            raise _unseen(folder.storage, f"{name} ({address})", cause)


def _unseen(
    storage: str,
    node: str,
    cause: object,
) -> ConfigError:
    return ConfigError(
        f"The node {node} does not see {storage}",
        where=SETTING,
        value=storage,
        cause=str(cause),
        remedy=f"mount it on every node under this name, or: --set {SETTING}=",
    )
