"""Read source files on the nodes of a cluster, one file a task.

A node opens a file that lies in the storage of the cluster; another travels there in blocks through Ray's object store.
Typed parts, quarantine and account come back as the files that a reading here would write: a node writes them into the
storage if the home lies there, else their bytes come. So this process parses nothing. Files that a node cannot read are
read here again, so that an error says the same, with a path of this machine.
"""

from __future__ import annotations

import secrets
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

import numpy as np

from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.config.sections.execution import ExecutionConfig
from reviewlm.core.errors import ReviewLMError, disk_errors
from reviewlm.core.store import note_sha256, sha256_of
from reviewlm.core.workspace import Workspace
from reviewlm.corpus.ingestion.forgotten import Forgotten
from reviewlm.corpus.ingestion.ingest import read_source
from reviewlm.corpus.reading.sources import (
    SMALL_FILE_BYTES,
    Source,
    digest_record,
    read_digest,
    write_digest,
)
from reviewlm.tasks.execution.cluster import RayEngine
from reviewlm.tasks.execution.node_files import SentFile, opened_on_node, send_files

Item = tuple[Source, datetime, list[SentFile] | None]
Reading = dict[str, np.ndarray]
"""Bytes of the files of a reading, by name."""


class WrittenReading(NamedTuple):
    """A reading that a node has written into the storage: its folder, and the SHA-256 of its files, by name."""

    folder: Path
    sums: dict[str, str]


def hash_seen(
    execution: ExecutionConfig,
    paths: Iterable[Path],
    memory: Path,
) -> None:
    """Have nodes hash new files that lie in the storage; `identify` then finds their digests in its memory.

    A file that is small, changes meanwhile or cannot be read is left to `identify`.
    """
    engine = RayEngine(execution.cluster, execution.storage)
    records = {}
    for path in filter(engine.sees, paths):
        with suppress(OSError):
            now = path.stat()
            record = digest_record(now, memory)
            if S_ISREG(now.st_mode) and now.st_size > SMALL_FILE_BYTES and not read_digest(record):
                records[path.absolute()] = record

    for (path, record), digest in zip(
        records.items(), engine.ordered(_hash_there, records), strict=True
    ):
        with suppress(OSError):
            if digest and digest_record(path.stat(), memory) == record:
                write_digest(record, digest)


def _hash_there(path: Path) -> str:
    """Return the SHA-256 of a file that this node sees; "" if it cannot be read."""
    try:
        return sha256_of(path)
    except OSError:
        return ""


class NodeReader:
    """A reader of files on nodes, as many at a time as the cluster has room for.

    Args:
        workspace: Names the cluster.
        settings: How files are read.
        sources: The files that may have to be read, in the order in which they are asked for. They begin to travel when
            the first one is asked for.

    Attributes:
        moments: By key of a file, the moment when it was handed out, with which its dates are compared. Moments ascend
            in the order of the files, which decides between their records.
    """

    def __init__(
        self,
        workspace: Workspace,
        settings: SourceConfig,
        sources: Sequence[Source],
    ) -> None:
        """Hand no file to the cluster yet; name the code that the nodes run, by its version."""
        self._asked = {source.key for source in sources}
        self.moments: dict[str, datetime] = {}
        self._handed: deque[str] = deque()
        execution = workspace.execution
        self._engine = RayEngine(execution.cluster, execution.storage)
        read = partial(
            _read_there,
            settings,
            Forgotten.of(workspace.home),
            self._engine.folder_beside(workspace.home),
        )
        self._readings = self._engine.ordered(read, self._items(sources))

    def _items(self, sources: Sequence[Source]) -> Iterator[Item]:
        for source in sources:
            now = datetime.now(UTC)
            self.moments[source.key] = now
            self._handed.append(source.key)
            files: list[SentFile] | None = None
            if not self._engine.sees(source.path):
                try:
                    files = send_files(source.path)
                except OSError:  # the reader of this process says so
                    files = []
            yield source, now, files

    def read_into(self, source: Source, folder: Path) -> bool:
        """Write the reading of a file into a folder, and return True.

        Returns:
            False if this process has to read the file: it was not among the sources, or no node could read it.

        Raises:
            ConfigError: A node has other code.
            ClusterFailed: The cluster is lost.
        """
        while source.key in self._asked:
            reading = next(self._readings)
            key = self._handed.popleft()
            self._asked.discard(key)
            if key == source.key and reading is not None:
                _write(reading, folder)
                return True
        return False


def _write(reading: Reading | WrittenReading, folder: Path) -> None:
    """Write the files of a reading into a folder, or move them there."""
    with disk_errors(folder):
        if isinstance(reading, WrittenReading):
            for name, sha256 in reading.sums.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(reading.folder / name, path)
                note_sha256(path, sha256)
            return

        for name, content in reading.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.data)


def _read_there(
    config: SourceConfig,
    forgotten: Forgotten,
    seen: Path | None,
    item: Item,
) -> Reading | WrittenReading | None:
    """Return the files of a reading; None if the file cannot be read here; on a node.

    Args:
        seen: A folder that the run sees too, in which the files may stay.
    """
    source, now, files = item
    with opened_on_node(files or []) as folder:
        here = _source_here(source, files, folder)
        if here is None:
            return None
        made = (seen or folder) / f"reading-{secrets.token_hex(8)}"
        try:
            read_source(
                here,
                made,
                config,
                None,
                now,
                forgotten,
            )
        except ReviewLMError:
            return None
        paths = [path for path in sorted(made.rglob("*")) if path.is_file()]
        written = {path.relative_to(made).as_posix(): path for path in paths}
        if seen:
            return WrittenReading(made, {name: sha256_of(path) for name, path in written.items()})
        return {name: np.fromfile(path, np.uint8) for name, path in written.items()}


def _source_here(
    source: Source,
    files: list[SentFile] | None,
    folder: Path,
) -> Source | None:
    """Return a source that was sent to a folder of this node, or that it sees; None if it is not that of the run."""
    path = source.path.absolute()
    if files is not None:
        path = folder / source.path.name
    try:
        if sha256_of(path) != source.sha256:  # changed since its bytes were hashed
            return None
        return replace(source, path=path, modified=path.stat().st_mtime_ns)
    except OSError:
        return None
