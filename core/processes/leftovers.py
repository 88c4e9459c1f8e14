"""Name processes so that no other gets the name, and remove the temporary folders of those that were killed.

A folder is recognised by a lock that only a running owner holds. The operating system releases a lock when its holder
ends, even by a kill. A process id would be less reliable: it is reused, and it means nothing in another container that
sees the same folder.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

PREFIX = "reviewlm-run-"
OWNER = "owner.lock"
VARIABLE = "TMPDIR"
_own: Path | None = None
_outer: str | None = None
PROC = Path("/proc")


@contextmanager
def own_temporary_folder() -> Iterator[None]:
    """Use one temporary folder for this process, its libraries and its children, and remove it at the end of the block.

    Folders of killed processes are removed first. If no folder can be created, the system's temporary folder is used.
    """
    global _own, _outer
    try:
        root = Path(tempfile.gettempdir())
        remove_abandoned_folders(root)
        folder, owner = claimed_folder(root)
    except OSError:
        yield
        return

    before = tempfile.tempdir
    _outer = os.environ.get(VARIABLE)
    _own = folder
    tempfile.tempdir = os.environ[VARIABLE] = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
        restored = lasting_environment(os.environ)
        os.environ.pop(VARIABLE)
        os.environ.update(restored)
        remove_own_folder()
        _own = None
        os.close(owner)


def lasting_folder() -> Path:
    """Return the system's temporary folder: what is written there outlives this process."""
    folder = Path(tempfile.gettempdir())
    return folder.parent if folder == _own else folder


def lasting_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for a process that outlives this one, without this process's temporary folder."""
    lasting = dict(environment)
    if _own is not None and lasting.get(VARIABLE) == str(_own):
        del lasting[VARIABLE]
        lasting.update({VARIABLE: _outer} if _outer is not None else {})
    return lasting


def remove_own_folder() -> None:
    """Remove this process's temporary folder with all its contents."""
    if _own is not None:
        shutil.rmtree(_own, ignore_errors=True)


def remove_abandoned_folders(root: Path, prefix: str = PREFIX) -> None:
    """Remove the temporary folders of processes that have ended."""
    for owner in root.glob(f"{prefix}*/{OWNER}"):
        with suppress(OSError):
            if owner.lstat().st_uid != os.getuid() or (descriptor := hold(owner)) is None:
                continue
            try:  # held meanwhile: a process that has just made this folder must not take it for its own
                shutil.rmtree(owner.parent, ignore_errors=True)
            finally:
                os.close(descriptor)


def hold(file: Path) -> int | None:
    """Create and lock a file until this process ends or closes the descriptor; None if another process holds it.

    Its permissions follow the umask, so that members of a group can read each other's (`execution.group_access`).
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(file, flags, 0o660)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def is_held(file: Path) -> bool:
    """Return whether a running process holds a file."""
    descriptor = hold(file)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def claimed_folder(root: Path, prefix: str = PREFIX) -> tuple[Path, int]:
    """Return a new folder and the descriptor of its lock, which is held until this process ends or closes it.

    Raises:
        OSError: No folder can be created.
    """
    for _ in range(3):
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
        owner = hold(folder / OWNER)
        if owner is not None and (folder / OWNER).exists():
            return folder, owner
        # Another process has just removed the folder.
    raise OSError(f"no temporary folder can be kept in {root}")


def this_machine() -> str:
    """Return the name of this machine, as process numbers mean one thing in it: host, namespace of processes, boot.

    Two containers may share a host's name and not its processes; the namespace tells them apart.
    """
    namespace = boot = "-"
    with suppress(OSError):
        namespace = os.readlink(PROC / "self/ns/pid").strip("pid:[]")
    with suppress(OSError):
        boot = (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{socket.gethostname()} {namespace} {boot}"


def process_name(pid: int) -> str:
    """Return the name of a running process of this machine: machine, number, start.

    Raises:
        psutil.NoSuchProcess: There is none.
    """
    return f"{this_machine()} {pid} {_start(pid)}"


def is_elsewhere(process: str) -> bool:
    """Return whether a process is one of another machine or container, where its number means nothing."""
    return process.split(" ")[:2] != this_machine().split(" ")[:2]


def age_of_process() -> float:
    """Return the seconds since this process began; 0 where the system does not tell."""
    with suppress(OSError, ValueError, AttributeError, psutil.Error):
        ticks = float(_start(os.getpid())) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks)
    return 0.0


def _start(pid: int) -> str:
    """Return when a process began, by a clock that nobody sets: ticks since boot.

    Raises:
        psutil.NoSuchProcess: There is none.
    """
    if not (PROC / "self/stat").exists():
        return f"{psutil.Process(pid).create_time():.0f}"
    try:
        stat = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        raise psutil.NoSuchProcess(pid) from None
    return stat.rpartition(")")[2].split()[19]
