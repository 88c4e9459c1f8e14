"""Remove results from a store in two steps, so that a result that another process begins to use is never lost.

A result that goes is renamed into `store/.trash` in one step. Then the time of its last use is read once more. If a
process used it meanwhile, it gets its name back. Otherwise it is renamed again, to a name that says that it is decided,
and deleted at the end. `Store.find` notes a use before it looks for the result. So either the use is seen here, or the
process finds no result and builds it again.
"""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from core.content_check import record_of
from core.errors import ArtifactError, disk_errors
from core.storing.uses import Uses

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
