"""Write files and folders atomically, which appear only when they are complete; read and write arrays of numpy.

A file or folder is written in the same parent folder under a unique hidden name and then renamed. Readers of a file
find the old version or the new one, never a mix. This also holds if several processes write or a process is killed. An
old version that is open or memory-mapped stays valid. A folder that exists is not replaced.

Arrays are read in any thread, and written in blocks, so that they may be larger than memory.
"""

from __future__ import annotations

import errno
import mmap
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, Any, Literal

from .base import ModelError

if TYPE_CHECKING:  # commands that read no array start without numpy
    import numpy as np

_unfinished: dict[Path, int] = {}
"""Unfinished files and folders, each with the id of the process that writes it, which a fork is not."""
NUMBERS_AT_A_TIME = 1 << 20
"""Numbers that `save_array` writes at a time."""
PARSING = Lock()
"""Held by whoever parses Python text: in Python 3.11 two threads that do so at once fail with a SystemError (CPython
issue 106905), and numpy parses the head of each array."""


@contextmanager
def new_file(path: Path, mode: int | None = None) -> Iterator[IO[bytes]]:
    """Open a new file for writing; at the end it replaces *path*.

    A symbolic link stays a link: the file that it points to is replaced. A path that is not a regular file (a pipe, a
    terminal, a device) is written directly.

    Args:
        mode: Its permissions; None: those of any new file, whatever those of the file that it replaces were.

    Raises:
        ModelError: The file cannot be written; kind "disk", with the operating system's error as its cause.
    """
    try:
        if written_straight(path):
            with _open(path) as file:
                yield file
            return

        target = _resolve(path)
        part = _beside(target)
        _unfinished[part] = os.getpid()
        try:
            with open(
                part, "xb", opener=lambda name, flags: os.open(name, flags, mode or 0o666)
            ) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())

            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
            _unfinished.pop(part, None)
    except OSError as error:
        raise not_written(path, error) from error


def written_straight(path: Path) -> bool:
    """Return whether a path cannot be replaced by another file: a device, a pipe, an open file descriptor."""
    mode = _mode(path)
    return _descriptor(path) is not None or (mode is not None and not stat.S_ISREG(mode))


def _descriptor(path: Path) -> int | None:
    """Return the number of the file descriptor that a name such as /dev/stdout means, or None."""
    standard = {"/dev/stdout": 1, "/dev/stderr": 2}.get(str(path))
    match = re.fullmatch(r"/(?:dev|proc/self)/fd/(\d+)", str(path))
    if match:
        return int(match[1])
    return standard


def _open(path: Path) -> IO[bytes]:
    """Open a path that is written directly; an open file descriptor continues at its position."""
    number = _descriptor(path)
    if number is None:
        return path.open("wb")
    return os.fdopen(os.dup(number), "wb")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Create a folder that appears at *path*, with everything in it, at the end.

    Raises:
        ModelError: See `require_new`; kind "disk": the folder cannot be written, with the operating system's error as
            its cause.
    """
    require_new(path)
    try:
        target = _resolve(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        new = _beside(target)
        _unfinished[new] = os.getpid()
        new.mkdir()
        try:
            yield new
            new.rename(target)
        finally:
            shutil.rmtree(new, ignore_errors=True)
            _unfinished.pop(new, None)
    except OSError as error:
        raise not_written(path, error) from error


def require_new(folder: Path) -> None:
    """Raise ModelError (kind "input") if a folder to be written exists, or anything else of its name."""
    if os.path.lexists(folder):
        raise ModelError(f"{folder} exists; name another folder, or remove it first", kind="input")


def save_tensors(
    save_file: Callable[[dict[str, Any], Path], None],
    tensors: dict[str, Any],
    path: Path,
) -> None:
    """Write tensors with safetensors' *save_file*, with the permissions of any other new file.

    Its release 0.8 renames a file of its own, which only the owner may read, even where a group shares the folder. For
    numpy it writes the bytes as they lie in memory, so an array in Fortran order would be read as another matrix.
    """
    import numpy as np

    tensors = {
        name: np.ascontiguousarray(x) if isinstance(x, np.ndarray) else x
        for name, x in tensors.items()
    }
    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)
    save_file(tensors, path)
    path.chmod(mode)


def not_written(path: Path, error: OSError) -> ModelError:
    """Return the error for a path that cannot be written."""
    return ModelError(f"{path} cannot be written: {error.strerror or error}", kind="disk")


def _resolve(path: Path) -> Path:
    try:
        return path.resolve()
    except RuntimeError as error:  # symbolic links that point to each other
        raise OSError(errno.ELOOP, str(error)) from error


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def _beside(path: Path) -> Path:
    return path.with_name(f".reviewlm-{secrets.token_hex(8)}.part")


def remove_unfinished() -> None:
    """Remove what this process has begun to write and not finished; for a process that ends without being unwound."""
    for part, process in list(_unfinished.items()):
        if process == os.getpid():
            with suppress(OSError):
                shutil.rmtree(part) if part.is_dir() else part.unlink()


def load_array(path: str | PathLike[str], mmap_mode: Literal["r"] | None = None) -> np.ndarray:
    """Read a `.npy` file, or map it to memory; errors are those of `numpy.load`."""
    import numpy as np

    with PARSING:
        array: np.ndarray = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    return array


def file_of(array: np.ndarray) -> str:
    """Return the name of the file from which an array is mapped; "an array in memory" if it is not mapped."""
    part: Any = array
    while part is not None:
        name = getattr(part, "filename", None)
        if name is not None:
            return str(name)
        part = getattr(part, "base", None)
    return "an array in memory"


class ScratchMap(mmap.mmap):
    """The memory map of a temporary file that holds one array; it can be in a weak set."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


def save_array(
    path: Path,
    array: np.ndarray,
    dtype: Any = None,
) -> None:
    """Write a `.npy` file as `numpy.save` does, in blocks: a file-backed array is never in memory as a whole.

    Raises:
        OSError: The file cannot be written.
    """
    import numpy as np

    kind = np.dtype(array.dtype if dtype is None else dtype)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file,
            {
                "descr": np.lib.format.dtype_to_descr(kind),
                "fortran_order": False,
                "shape": array.shape,
            },
        )
        for first in range(0, len(array), NUMBERS_AT_A_TIME):
            file.write(np.ascontiguousarray(array[first : first + NUMBERS_AT_A_TIME], kind).data)
            let_go(array)


def let_go(array: np.ndarray) -> None:
    """Free the memory of an array in a `ScratchMap`; without effect on any other array."""
    mapped: Any = array.base
    while mapped is not None and not isinstance(mapped, ScratchMap):
        if isinstance(mapped, memoryview):
            mapped = mapped.obj
        else:
            mapped = getattr(mapped, "base", None)
    if mapped is not None:
        mapped.madvise(mmap.MADV_DONTNEED)
