"""Read source files on the nodes of a cluster, one file a task.

A node opens a file that lies in the storage of the cluster; another travels there in blocks through Ray's object store.
Typed parts, quarantine and account come back as the bytes of the files that a reading here would write. So this process
parses nothing. Files that a node cannot read are read here again, so that an error says the same, with a path of this
machine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.errors import ReviewLMError, disk_errors
from reviewlm.core.store import sha256_of
from reviewlm.core.workspace import Workspace
from reviewlm.corpus.ingestion.forgotten import Forgotten
from reviewlm.corpus.ingestion.ingest import read_source
from reviewlm.corpus.reading.sources import Source
from reviewlm.tasks.execution.cluster import RayEngine
from reviewlm.tasks.execution.node_files import SentFile, opened_on_node, send_files
from reviewlm.tasks.execution.partitions import sees

Item = tuple[Source, datetime, list[SentFile] | None]
Reading = dict[str, np.ndarray]
"""Bytes of the files of a reading, by name."""


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
        read = partial(_read_there, settings, Forgotten.of(workspace.home))
        execution = workspace.execution
        engine = RayEngine(execution.cluster, execution.storage)
        self._readings = engine.ordered(read, self._items(sources, execution.storage))

    def _items(self, sources: Sequence[Source], storage: str) -> Iterator[Item]:
        for source in sources:
            now = datetime.now(UTC)
            self.moments[source.key] = now
            self._handed.append(source.key)
            files: list[SentFile] | None = None
            if not sees(storage, source.path):
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


def _write(reading: Reading, folder: Path) -> None:
    with disk_errors(folder):
        for name, content in reading.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.data)


def _read_there(
    config: SourceConfig,
    forgotten: Forgotten,
    item: Item,
) -> Reading | None:
    """Return the files of a reading; None if the file cannot be read here; on a node."""
    source, now, files = item
    with opened_on_node(files or []) as folder:
        here = _source_here(source, files, folder)
        if here is None:
            return None
        made = folder / "reading"
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
        return {
            file.relative_to(made).as_posix(): np.fromfile(file, np.uint8)
            for file in sorted(made.rglob("*"))
            if file.is_file()
        }


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
