"""Stores of several machines with one remote store, whose calls are listed and may fail."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.store import Built, Store
from core.storing.objects import FolderObjects, RemoteError
from core.storing.remote import RemoteStore

CONTENT = {"weights.bin": b"\x00\x01weights" * 50, "deep/er/table.json": b'{"rows": 3}', "empty": b""}
DIGEST = Store.digest("fit", 1, {"size": 3}, {"tokens": "abc"})


class Watched:
    """Objects that list each call, and fail with the errors of `faults` (by method)."""

    def __init__(self, folder: Path) -> None:
        self.calls: list[str] = []
        self.keys: set[str] = set()
        self.faults: dict[str, str] = {}
        self._objects = FolderObjects(folder)

    def _note(self, method: str, key: str) -> None:
        self.calls.append(method)
        self.keys.add(key)
        if method in self.faults:
            raise RemoteError(self.faults[method])

    def exists(self, key: str) -> bool:
        self._note("exists", key)
        return self._objects.exists(key)

    def read(self, key: str) -> Iterator[bytes]:
        self._note("read", key)
        return self._objects.read(key)

    def write(self, key: str, content: Path | bytes) -> None:
        self._note("write", key)
        self._objects.write(key, content)


class Machine:
    """A store with a remote store, and how often it built something."""

    def __init__(self, root: Path, shared: Path, content: dict[str, bytes] = CONTENT) -> None:
        shared.mkdir(exist_ok=True)
        self.objects, self.content, self.built = Watched(shared), content, 0
        self.root = root
        self.restart()

    def restart(self) -> None:
        """Begin a new process, which remembers nothing."""
        self.objects.calls.clear()
        self.store = Store(self.root, remote=RemoteStore("file:///shared", self.objects))

    def build(self, size: int = 3, **how: Any) -> Built:
        def make(work: Path) -> dict[str, int]:
            self.built += 1
            for name, content in self.content.items():
                (work / name).parent.mkdir(parents=True, exist_ok=True)
                (work / name).write_bytes(content)
            return {"parameters": 12}

        return self.store.build("fit", 1, {"size": size}, {"tokens": "abc"}, make, **how)

    def files(self) -> dict[str, bytes]:
        """Return the content of the result."""
        return everything(self.root / "fit" / DIGEST)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
