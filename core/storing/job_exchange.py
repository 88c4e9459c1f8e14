"""Exchange a job with another machine through the objects of a remote store: what to do, how far it is, its files.

All objects of a job lie below `jobs/<name>/`. What one machine tells another is a JSON object. The files of a folder
are objects of their own, and a JSON object lists them with size and SHA-256. Keys are never used twice, and the files
of the list before are deleted only after the next list is written, so that a reader always finds whole files. Nothing
that comes from the remote store is trusted: a name must stay inside its folder, and a file must have the size and
SHA-256 of the list.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from core.content_check import sha256_of_file
from core.storing.objects import NotThere, Objects, RemoteError

MOST_JSON = 16 << 20
"""Bytes of a JSON object."""
JOURNALS, UNFINISHED = ".jsonl", ".part"
"""Endings of files that grow in place, which are copied last so that they are not older than a checkpoint; and of files
that will get another name, which are left out."""


class Differs(RemoteError):
    """A file is not as its list says: it is being replaced, or damaged."""


class JobExchange:
    """The objects of one job.

    Args:
        objects: Those of the remote store.
        name: Name of the job.
    """

    def __init__(self, objects: Objects, name: str) -> None:
        self.objects, self.name = objects, name
        self._place = f"jobs/{name}"
        self._sent: dict[str, dict[str, tuple[tuple[int, int], dict[str, Any]]]] = {}
        self._stale: dict[str, set[str]] = {}

    def read(self, part: str) -> dict[str, Any] | None:
        """Return a JSON object of the job; None if it is not there.

        Raises:
            RemoteError: The remote store does not answer, or holds something else.
        """
        content = bytearray()
        try:
            for block in self.objects.read(f"{self._place}/{part}.json"):
                content += block
                if len(content) > MOST_JSON:
                    raise RemoteError(f"{part}.json of the job {self.name} has more than {MOST_JSON} bytes")
        except NotThere:
            return None
        try:
            found = json.loads(content)
        except ValueError as error:
            raise RemoteError(f"{part}.json of the job {self.name} is not JSON") from error
        if not isinstance(found, dict):
            raise RemoteError(f"{part}.json of the job {self.name} is not a JSON object")
        return found

    def write(self, part: str, values: Mapping[str, Any]) -> None:
        """Write a JSON object of the job. Raise RemoteError if the remote store does not take it."""
        self.objects.write(f"{self._place}/{part}.json", json.dumps(values).encode())

    def send_folder(self, part: str, folder: Path, copies: Path, **values: Any) -> None:
        """Upload the files of a folder that have changed since the last call, then their list.

        Args:
            part: Name of the list.
            folder: The folder; its files may be replaced, and journals may grow, meanwhile.
            copies: Folder for what is uploaded, on the same disk; it is emptied.
            values: Further values of the list's JSON object.

        Raises:
            RemoteError: The remote store does not take it.
            OSError: The local disk.
        """
        shutil.rmtree(copies, ignore_errors=True)
        before, now = self._sent.get(part, {}), dict[str, tuple[tuple[int, int], dict[str, Any]]]()
        states = _held(folder, copies)
        turn = f"{self._place}/{part}/{secrets.token_hex(4)}"
        for name, state in states.items():
            known = before.get(name)
            entry = known[1] if known and known[0] == state else self._send_file(f"{turn}/{name}", copies / name)
            now[name] = state, entry
        listing = {name: entry for name, (_, entry) in now.items()}
        self.write(part, {"files": listing, **values})
        shutil.rmtree(copies, ignore_errors=True)
        for key in self._stale.get(part, ()):
            self.objects.remove(key)
        self._sent[part] = now
        self._stale[part] = {entry["key"] for _, entry in before.values() if entry not in listing.values()}

    def _send_file(self, key: str, path: Path) -> dict[str, Any]:
        self.objects.write(key, path)
        return {"key": key, "bytes": path.stat().st_size, "sha256": sha256_of_file(path)}

    def receive_folder(self, part: str, folder: Path, only: Iterable[str] | None = None) -> bool:
        """Download the files of a list into a folder; return False if there is no list.

        Args:
            part: Name of the list.
            folder: The folder. A file appears there when it is complete.
            only: Names of the files that are wanted; None: all.

        Raises:
            RemoteError: A file is missing, or differs from the list.
            OSError: The local disk.
        """
        if (found := self.read(part)) is None:
            return False
        wanted = None if only is None else {*only}
        try:
            files = {name: entry for name, entry in found["files"].items() if wanted is None or name in wanted}
            for name, entry in files.items():
                self._receive(entry, inside(folder, name))
        except (KeyError, TypeError, AttributeError) as error:
            raise RemoteError(f"{part}.json of the job {self.name} is not a list of files: {error!r}") from error
        return True

    def _receive(self, entry: Mapping[str, Any], path: Path) -> None:
        if not entry["key"].startswith(f"{self._place}/") or ".." in entry["key"]:
            raise RemoteError(f"{path.name[:60]!r} of the job {self.name} has a key outside the job's own folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        incomplete = path.with_name(f".{path.name}.part")
        try:
            with incomplete.open("wb") as file:
                for block in self.objects.read(entry["key"]):
                    if file.tell() + len(block) > entry["bytes"]:
                        break
                    file.write(block)
            if incomplete.stat().st_size != entry["bytes"] or sha256_of_file(incomplete) != entry["sha256"]:
                raise Differs(f"{path.name[:60]!r} of the job {self.name} differs from its list")
            incomplete.replace(path)
        finally:
            incomplete.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete all objects of the job. Raise RemoteError if the remote store refuses."""
        self.objects.remove(self._place)
        self._sent.clear()
        self._stale.clear()


def _names(folder: Path) -> list[str]:
    """Return the names of the files of a folder, journals last."""
    names = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
    finished = [name for name in names if not name.endswith(UNFINISHED)]
    return sorted(finished, key=lambda name: (name.endswith(JOURNALS), name))


def _held(folder: Path, copies: Path) -> dict[str, tuple[int, int]]:
    """Hold the files of a folder as they are now in another folder; return time and size of each by name.

    A link is enough where a file is never changed in place. An older checkpoint may vanish meanwhile: it is left out.
    """
    states = {}
    for name in _names(folder):
        (copies / name).parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            about = (folder / name).stat()
            if name.endswith(JOURNALS):
                shutil.copyfile(folder / name, copies / name)
            else:
                _link(folder / name, copies / name)
            states[name] = about.st_mtime_ns, about.st_size
    return states


def _link(path: Path, copy: Path) -> None:
    try:
        os.link(path, copy)
    except FileNotFoundError:
        raise
    except OSError:  # another disk, or one without links
        shutil.copyfile(path, copy)


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file below a folder. Raise RemoteError if the name leads out of it."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise RemoteError(f"{name[:60]!r} cannot be the name of a file of a job")
    return folder / path
