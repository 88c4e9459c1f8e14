"""Files and folders that appear when they are complete.

They are made beside their place under a hidden name that no other process has, and then renamed: whoever looks finds
the old one or the new one, never a mix, however many write and whenever one of them ends. What was open or
memory-mapped of the old one stays valid.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from .base import ModelError

_TAKEN = (errno.ENOTEMPTY, errno.EEXIST)


@contextmanager
def new_file(path: Path, mode: int | None = None) -> Iterator[IO[bytes]]:
    """Open a file to write that takes its place at the end.

    A link stays one: the file that it leads to is replaced. What is no regular file (a pipe, a terminal, a device) is
    written straight into.

    Args:
        path: The file.
        mode: Its permissions; none: those of the file that it replaces, or the usual ones.

    Raises:
        ModelError: It cannot be written; kind "disk", with the operating system's error as its cause.
    """
    try:
        if written_straight(path):
            with _opened(path) as file:
                yield file
            return
        target, before = path.resolve(), _mode(path)
        part = _beside(target)
        try:
            with open(part, "xb", opener=lambda name, flags: os.open(name, flags, mode or 0o666)) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if mode is None and before is not None:
                part.chmod(stat.S_IMODE(before))
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:  # the latter: links that lead to each other
        cause = error if isinstance(error, OSError) else OSError(errno.ELOOP, str(error))
        raise not_written(path, cause) from cause


def written_straight(path: Path) -> bool:
    """Return whether a path is no file that another one can take the place of: a device, a pipe, an open file."""
    mode = _mode(path)
    return _descriptor(path) is not None or (mode is not None and not stat.S_ISREG(mode))


def _descriptor(path: Path) -> int | None:
    """Return the number of the open file that a name such as /dev/stdout stands for."""
    known = {"/dev/stdout": 1, "/dev/stderr": 2}.get(str(path))
    found = re.fullmatch(r"/(?:dev|proc/self)/fd/(\d+)", str(path))
    return int(found[1]) if found else known


def _opened(path: Path) -> IO[bytes]:
    """Open what is written straight into; an open file goes on from where it is."""
    number = _descriptor(path)
    return path.open("wb") if number is None else os.fdopen(os.dup(number), "wb")


@contextmanager
def new_folder(path: Path, require_ours: Callable[[Path], None]) -> Iterator[Path]:
    """Make a folder that takes its place, with all that was put into it, at the end; a link to a folder stays one.

    Args:
        require_ours: Called with a folder that would be replaced; should raise if it may not be.

    Raises:
        ModelError: It cannot be written; kind "disk", with the operating system's error as its cause.
    """
    try:
        target = path.resolve()
        require_ours(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        new = _beside(target)
        new.mkdir()
        try:
            yield new
            mode = _mode(target)
            if mode is not None:
                new.chmod(stat.S_IMODE(mode))
            _swap(new, target, require_ours)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    except OSError as error:
        raise not_written(path, error) from error


def not_written(path: Path, error: OSError) -> ModelError:
    """Return the error of a place that cannot be written."""
    return ModelError(f"{path} cannot be written: {error.strerror or error}", kind="disk")


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def _beside(path: Path) -> Path:
    return path.with_name(f".reviewlm-{secrets.token_hex(8)}.part")


def _swap(new: Path, target: Path, require_ours: Callable[[Path], None]) -> None:
    """Put *new* at *target*; what was there is removed, or is at *new* afterwards."""
    while True:
        if _renamed(new, target):  # there was nothing, or an empty folder
            return
        require_ours(target)
        if _exchanged(new, target):
            return
        aside = _beside(target)
        with suppress(FileNotFoundError):  # another process was quicker
            target.rename(aside)
        try:
            if _renamed(new, target):
                return
        finally:
            if target.exists():
                shutil.rmtree(aside, ignore_errors=True)
            else:
                with suppress(FileNotFoundError):
                    aside.rename(target)


def _renamed(new: Path, target: Path) -> bool:
    try:
        new.rename(target)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True


def _exchanged(one: Path, two: Path) -> bool:
    """Let two folders change places in one step, where system and file system can."""
    function = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return function is not None and function(here, os.fsencode(one), here, os.fsencode(two), exchange) == 0
