"""What a killed process leaves: known by a lock that its owner held, removed by the next one that starts.

The system lets go of a lock when its holder ends, in whatever way. A process number would say less: it is given to
others, and means nothing in another container that sees the same folder.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "reviewlm-run-"
OWNER = "owner.lock"
VARIABLE = "TMPDIR"
_own: Path | None = None
_outer: str | None = None


@contextmanager
def own_temporary_folder() -> Iterator[None]:
    """Have all temporary files of this process, its libraries and its children in one folder, which goes with it.

    First those of killed processes are removed. Where no folder can be made, things stay as they are.
    """
    global _own, _outer
    try:
        root = Path(tempfile.gettempdir())
        remove_abandoned_folders(root)
        folder, owner = _claimed(root)
    except OSError:
        yield
        return
    before, _outer, _own = tempfile.tempdir, os.environ.get(VARIABLE), folder
    tempfile.tempdir = os.environ[VARIABLE] = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir, restored = before, lasting_environment(os.environ)
        os.environ.pop(VARIABLE)
        os.environ.update(restored)
        remove_own_folder()
        _own = None
        os.close(owner)


def lasting_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for a process that outlives this one: its temporary files lie elsewhere."""
    lasting = dict(environment)
    if _own is not None and lasting.get(VARIABLE) == str(_own):
        del lasting[VARIABLE]
        lasting.update({VARIABLE: _outer} if _outer is not None else {})
    return lasting


def remove_own_folder() -> None:
    """Remove this process's temporary folder with all that is in it."""
    if _own is not None:
        shutil.rmtree(_own, ignore_errors=True)


def remove_abandoned_folders(root: Path) -> list[Path]:
    """Remove the temporary folders whose process is gone, and return them."""
    gone = []
    for owner in root.glob(f"{PREFIX}*/{OWNER}"):
        with suppress(OSError):
            if owner.lstat().st_uid != os.getuid() or (descriptor := hold(owner)) is None:
                continue
            try:  # held meanwhile: a process that has just made this folder must not take it for its own
                shutil.rmtree(owner.parent, ignore_errors=True)
            finally:
                os.close(descriptor)
            gone.append(owner.parent)
    return gone


def hold(file: Path) -> int | None:
    """Make a file that this process holds until it ends, or closes the descriptor; None where another one holds it.

    Its permissions are those of the umask, so that members of a group see each other's (`execution.group_access`).
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = beyond_standard_streams(os.open(file, flags, 0o660))
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def beyond_standard_streams(descriptor: int) -> int:
    """Return the descriptor with a number above 2: where standard output is closed, a file would be taken for it."""
    if descriptor > 2:
        return descriptor
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(descriptor)
    return moved


def is_held(file: Path) -> bool:
    """Return whether a living process holds a file."""
    descriptor = hold(file)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def _claimed(root: Path) -> tuple[Path, int]:
    """Return a new folder and the hold on it.

    Raises:
        OSError: None can be made.
    """
    for _ in range(3):
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
        owner = hold(folder / OWNER)
        if owner is not None and (folder / OWNER).exists():
            return folder, owner
        # Another process that tidies up was faster.
    raise OSError(f"no temporary folder can be kept in {root}")
