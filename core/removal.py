"""Remove results of a store, so that none goes that a process has just begun to use.

The last use of a result is its manifest's time of modification, by the clock of the file system, which all machines
share. Who decides what goes keeps what was used lately and what running runs need. The time is read once more, under
the lock of the result, before the result is renamed into `store/.trash` in one step; it is deleted at the end. So a
kill leaves each result whole or in the trash, which the next collection empties.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from reviewlm.core.errors import ArtifactError, disk_errors
from reviewlm.core.manifest import MANIFEST

TRASH = ".trash"
WORK = ".work"
LOCK = ".collecting.lock"
ONCE = "once-"
"""Prefix of unfinished builds that cannot be resumed."""
log = logging.getLogger(__name__)


@contextmanager
def one_collection(root: Path) -> Iterator[None]:
    """Let one collection at a time work on a store.

    Raises:
        ArtifactError: Another one runs.
    """
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(root / LOCK, timeout=0):
                yield
        except Timeout as error:
            raise ArtifactError(
                "Another `reviewlm home gc` is running in this home folder",
                where=root,
                remedy="wait until it ends",
            ) from error


def build_lock(
    root: Path,
    digest: str,
    timeout: float = -1,
) -> FileLock:
    """Return the lock of a digest; a build of it, and a step of its removal, hold it."""
    folder = root / WORK
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{digest}.lock", timeout=timeout)


def last_use(folder: Path) -> int:
    """Return when a result was last used, in nanoseconds since 1970; 0 if it does not exist."""
    for file in (folder / MANIFEST, folder):
        with suppress(OSError):
            return file.stat().st_mtime_ns
    return 0


def newest_change(folder: Path) -> int:
    """Return the time of the last change of a folder or anything in it, in nanoseconds since 1970."""
    newest = 0
    for path in (folder, *folder.rglob("*")):
        with suppress(OSError):
            newest = max(newest, path.lstat().st_mtime_ns)
    return newest


class Removal:
    """Removal of results and other folders of one store; create it within `one_collection`.

    Args:
        root: The store's folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.trash = root / TRASH

    def remove(
        self,
        folder: Path,
        used: int,
        time_of: Callable[[Path], int] = last_use,
    ) -> bool:
        """Remove a result or an unfinished build; return False if *time_of* it is not *used* now, or it is built."""
        with suppress(Timeout), build_lock(self.root, folder.name.removeprefix(ONCE), timeout=0):
            if folder.is_dir() and time_of(folder) == used:
                self._to_trash(folder)
                return True
        return False

    def remove_other(self, folder: Path) -> None:
        """Remove a folder that no process uses."""
        try:
            self._to_trash(folder)
        except OSError:  # it is on another disk than the store
            _delete(folder)

    def empty(self) -> None:
        """Delete what was removed."""
        for path in self.trash.glob("*"):
            _delete(path)
        with suppress(OSError):
            self.trash.rmdir()

    def _to_trash(self, folder: Path) -> None:
        self.trash.mkdir(parents=True, exist_ok=True)
        folder.rename(self.trash / f"{folder.name}-{time.time_ns()}")


def _delete(path: Path) -> None:
    """Delete a folder; what cannot be deleted now stays for the next collection."""
    shutil.rmtree(
        path,
        onerror=lambda _, place, error: log.warning("%s cannot be deleted: %s", place, error[1]),
    )
