"""Record which results of a store are used, and remove others so that none that a process begins to use is lost.

A result that goes is renamed into `store/.trash` in one step. Then the time of its last use is read once more. If a
process used it meanwhile, it gets its name back. Otherwise it is renamed again, to a name that says that it is decided,
and deleted at the end. `Store.find` notes a use before it looks for the result. So either the use is seen here, or the
process finds no result and builds it again.

The last use of a result is the modification time of its record in `store/.checked`. A process that uses the store
holds a lock on a file in `store/.users` until it ends, in whatever way. The file was made before the process asked for
its first result. So everything that a running process may still read was used after one of these files was made.

All times are those of the file system, so a store that several machines share has one clock.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from core.content_check import record_of
from core.errors import ArtifactError, disk_errors
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


TRASH, WORK, LOCK = ".trash", ".work", ".collecting.lock"
GONE = "gone-"
PENDING = re.compile(r"pending\+(?P<stage>[^+]+)\+(?P<digest>[^+]+)\+(?P<used>\d+)")
"""Name in the trash of a result that may still get its name back; `used` is its last use when it was chosen."""
log = logging.getLogger(__name__)


@contextmanager
def one_collection(root: Path) -> Iterator[None]:
    """Let one collection at a time work on a store.

    Raises:
        ArtifactError: Another one runs.
    """
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise ArtifactError(
                "Another `reviewlm home gc` is running in this home folder", where=root, remedy="wait until it ends"
            ) from error
        try:
            yield
        finally:
            lock.release()


def build_lock(root: Path, digest: str, thread_local: bool = True) -> FileLock:
    """Return the lock of a digest; a build of it, and a step of its removal, hold it.

    Set *thread_local* to False if another thread than the one that acquires it may release it.
    """
    folder = root / WORK
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{digest}.lock", thread_local=thread_local)


class Removal:
    """Removal of results and other folders of one store; create it within `one_collection`.

    Args:
        root: The store's folder.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.uses, self.trash = root, Uses(root), root / TRASH

    def remove(self, stage: str, digest: str, used: int) -> bool:
        """Remove a result that was last used at *used*; return False if it is used or built now."""
        folder = self.root / stage / digest
        pending = self.trash / f"pending+{stage}+{digest}+{used}"
        lock = build_lock(self.root, digest)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        try:
            if self.uses.last(stage, digest) != used or not folder.is_dir():
                return False
            self.trash.mkdir(exist_ok=True)
            folder.rename(pending)
            return self._decide(pending, stage, digest, used)
        finally:
            lock.release()

    def remove_unfinished(self, work: Path, before: int) -> bool:
        """Remove the folder of a killed build, if no process works in it and nothing in it changed since *before*."""
        lock = build_lock(self.root, work.name.removeprefix("once-"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        try:
            if not work.is_dir() or newest_change(work) >= before:
                return False
            self._to_trash(work)
            return True
        finally:
            lock.release()

    def remove_other(self, folder: Path) -> None:
        """Remove a folder that no process uses."""
        try:
            self._to_trash(folder)
        except OSError:  # it is on another disk than the store
            self._delete(folder)

    def finish_earlier(self) -> None:
        """Finish what a killed collection began: give results back that were used meanwhile, delete the others."""
        for path in sorted(self.trash.glob("pending+*")):
            if about := PENDING.fullmatch(path.name):
                with build_lock(self.root, about["digest"]):
                    self._decide(path, about["stage"], about["digest"], int(about["used"]))
        self.empty()

    def empty(self) -> None:
        """Delete what was removed."""
        for path in self.trash.glob(f"{GONE}*"):
            self._delete(path)
        with suppress(OSError):
            self.trash.rmdir()

    def _decide(self, pending: Path, stage: str, digest: str, used: int) -> bool:
        """Rename a result for good and return True; if it was used meanwhile, give its name back and return False.

        Call it while the lock of its digest is held.
        """
        folder = self.root / stage / digest
        if self.uses.last(stage, digest, pending) != used and not folder.exists():
            pending.rename(folder)
            log.info("%s/%s was used meanwhile, so it is kept", stage, digest)
            return False
        self._to_trash(pending)
        if not folder.exists():
            record_of(self.root, folder).unlink(missing_ok=True)
        return True

    def _to_trash(self, folder: Path) -> None:
        self.trash.mkdir(parents=True, exist_ok=True)
        folder.rename(self.trash / f"{GONE}{folder.name}-{time.time_ns()}")

    @staticmethod
    def _delete(path: Path) -> None:
        """Delete a folder; what cannot be deleted now stays for the next collection."""
        shutil.rmtree(path, onerror=_warn)


def newest_change(folder: Path) -> int:
    """Return the time of the last change of a folder or anything in it, in nanoseconds since 1970."""
    newest = 0
    for path in (folder, *folder.rglob("*")):
        with suppress(OSError):
            newest = max(newest, path.lstat().st_mtime_ns)
    return newest


def _warn(_: object, path: str, error: tuple[object, BaseException, object]) -> None:
    log.warning("%s cannot be deleted: %s", path, error[1])
