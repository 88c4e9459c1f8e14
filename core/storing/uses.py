"""Record when each stored result was last used, and which processes use the store now.

The last use of a result is the modification time of its record in `store/.checked`. A process that uses the store
holds a lock on a file in `store/.users` until it ends, in whatever way. The file was made before the process asked for
its first result. So everything that a running process may still read was used after one of these files was made.

All times are those of the file system, so a store that several machines share has one clock.
"""

from __future__ import annotations

import atexit
import os
import threading
import uuid
from contextlib import suppress
from pathlib import Path

from core.content_check import record_of
from core.manifest import MANIFEST
from core.processes.leftovers import hold

USERS = ".users"
ATTEMPTS = 3
_lock = threading.Lock()
_marks: dict[Path, tuple[Path, int]] = {}


class Uses:
    """The uses of one store.

    Args:
        root: The store's folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def note(self, stage: str, digest: str) -> None:
        """Record that this process uses a result now; call it before the result is looked for.

        In this order no use is missed: a collection that removes the result reads its time once more afterwards. A
        store that cannot be written is no error.
        """
        folder = self.root / stage / digest
        with suppress(OSError):
            if folder.is_dir():
                self._mark()
                record = record_of(self.root, folder)
                record.parent.mkdir(exist_ok=True)
                record.touch()  # an empty record counts as none when the files are checked

    def last(self, stage: str, digest: str, folder: Path | None = None) -> int:
        """Return when a result was last used, in nanoseconds since 1970; 0 if it does not exist.

        *folder* is where it is now, if that is not its place in the store.
        """
        place = self.root / stage / digest
        for file in (record_of(self.root, place), (folder or place) / MANIFEST, folder or place):
            with suppress(OSError):
                return file.stat().st_mtime_ns
        return 0

    def since(self, look_only: bool = False) -> int | None:
        """Return when the first of the processes that use the store now began to, or None if there is none.

        This process counts too: a notebook may go on with what it has read.

        Marks of processes that have ended are removed, unless *look_only*.
        """
        times = []
        for mark in (self.root / USERS).glob("*"):
            with suppress(OSError):
                begun = mark.stat().st_mtime_ns
                if (descriptor := _held_by_none(mark)) is None:
                    times.append(begun)
                    continue
                if not look_only:
                    mark.unlink(missing_ok=True)  # held meanwhile: see `_mark`
                os.close(descriptor)
        return min(times, default=None)

    def _mark(self) -> None:
        """Mark this process as a user of the store, once."""
        with _lock:
            if self.root in _marks:
                return
            folder = self.root / USERS
            folder.mkdir(exist_ok=True)
            for _ in range(ATTEMPTS):
                file = folder / f"{os.getpid()}-{uuid.uuid4().hex}"
                descriptor = hold(file)
                if descriptor is not None and file.exists():
                    _marks[self.root] = file, descriptor
                    atexit.register(_unmark, self.root, os.getpid())
                    return
                if descriptor is not None:  # a collection has just removed it, for it had no lock yet
                    os.close(descriptor)


def _held_by_none(mark: Path) -> int | None:
    """Lock a mark; None if a process holds it, or if it belongs to another user, so that nobody can say."""
    try:
        return hold(mark)
    except PermissionError:
        return None


def _unmark(root: Path, process: int) -> None:
    """Remove the mark of this process; a forked child leaves that of its parent."""
    if root in _marks and os.getpid() == process:
        file, descriptor = _marks.pop(root)
        with suppress(OSError):
            file.unlink(missing_ok=True)
            os.close(descriptor)
