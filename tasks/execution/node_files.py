"""Bring files to the nodes of a cluster and back, in blocks through Ray's object store, and check the code there.

Each file travels with its SHA-256. A node needs the same code as the run, and neither MLflow nor Prefect.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from reviewlm.core.errors import ConfigError, Damaged, ReviewLMError, disk_errors
from reviewlm.tasks.execution.code_version import running_code

BLOCK = 32 << 20
"""Bytes of a file that travel as one object."""
JOURNALS = ".jsonl"
"""Ending of files that grow in place. They are read last, so that they are not older than a checkpoint."""
UNFINISHED = ".part"
"""Ending of files that will get another name. They are left out."""


@dataclass(frozen=True)
class SentFile:
    """A file on its way: its name below a folder, SHA-256, and references of its blocks in the object store."""

    name: str
    sha256: str
    blocks: list[Any]


def send_files(path: Path, name: str = "") -> list[SentFile]:
    """Put a file, or the files of a folder, into the object store; journals last. *name* is that of the whole."""
    if path.is_dir():
        return [
            file
            for one in file_names(path)
            for file in send_files(path / one, f"{name}/{one}".lstrip("/"))
        ]

    import ray

    whole = hashlib.sha256()
    blocks = []
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            whole.update(block)
            blocks.append(ray.put(block))

    return [SentFile(name or path.name, whole.hexdigest(), blocks)]


def receive_files(files: list[SentFile], folder: Path) -> None:
    """Write files from the object store into a folder; a file appears there when it is complete.

    Tensors appear after journals, since a checkpoint needs its journal, and JSON files last: a bundle is there as soon
    as its JSON file is.

    Raises:
        Damaged: A file has not the content that was sent, or a name leads out of the folder.
        OSError: The disk.
    """
    import ray

    for file in sorted(
        files, key=lambda one: (one.name.endswith(".json"), one.name.endswith(".safetensors"))
    ):
        path = folder / file.name
        whole = hashlib.sha256()
        if folder not in path.parents or ".." in path.parts:
            raise Damaged(
                "A file of a job has a name outside its folder", where=folder, value=file.name
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}{UNFINISHED}")
        try:
            with unfinished.open("wb") as stream:
                for reference in file.blocks:
                    block = ray.get(reference)
                    whole.update(block)
                    stream.write(block)
            if whole.hexdigest() != file.sha256:
                raise Damaged("A file of a job arrived with other content", where=path)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


def file_names(folder: Path) -> list[str]:
    """Return the names of the files of a folder, without unfinished ones; those that grow come last."""
    names = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
    return sorted(
        (n for n in names if not n.endswith(UNFINISHED)),
        key=lambda name: (name.endswith(JOURNALS), name),
    )


def require_code(code: str) -> None:
    """Raise ConfigError unless the code of all results has this version here, on a node."""
    here = running_code().whole()
    if here != code:
        raise ConfigError(
            "A node of the cluster has other code than the run",
            where=platform.node(),
            value=here,
            cause=f"the run has {code}",
            remedy="bring all machines to the same commit",
        )


@contextmanager
def naming_node(node: str) -> Iterator[None]:
    """Add the node to the place of an error."""
    try:
        yield
    except ReviewLMError as error:
        if error.where:
            place = f"{error.where}, on {node}"
        else:
            place = f"on {node}"

        raise type(error)(
            error.what,
            where=place,
            value=error.value,
            cause=error.cause,
            remedy=error.remedy,
        ) from error


@contextmanager
def opened_on_node(files: list[SentFile]) -> Iterator[Path]:
    """Yield a folder of this node with the files that were sent here, for the block; errors in it name the node.

    Raises:
        Damaged, StoreFull, NotWritable: The files cannot be written.
    """
    with (
        naming_node(platform.node()),
        disk_errors(Path(gettempdir())),
        TemporaryDirectory() as folder,
    ):
        receive_files(files, Path(folder))
        yield Path(folder)
