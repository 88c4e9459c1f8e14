"""Allocate the large arrays of a fit: in memory, or in temporary files when memory is limited.

The files have no name: the system removes them when nothing refers to them any more, even if the process is killed.
The space of an array of known length is reserved when it is created, so a full disk is an error message at once.
"""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from models.base import ModelError
from models.npy_files import ScratchMap


class ArrayAllocator:
    """An allocator of arrays.

    Args:
        folder: Folder of the files; None keeps arrays in memory.
        limit: Memory limit of the whole process in bytes; None for no limit.
    """

    def __init__(self, folder: Path | None = None, limit: int | None = None) -> None:
        self.folder = folder
        self.limit = limit
        self._maps: weakref.WeakSet[ScratchMap] = weakref.WeakSet()

    @classmethod
    def within(cls, limit: int | None, folder: Path | None = None) -> ArrayAllocator:
        """Return an allocator for a memory limit: of files in *folder* (default: the system's), or of memory."""
        return cls() if limit is None else cls(folder or Path(tempfile.gettempdir()), limit)

    def empty(self, length: int, dtype: Any) -> np.ndarray:
        """Return a new array of one dimension with undefined values.

        Raises:
            ModelError: The folder cannot be written or has no space; kind "disk".
        """
        kind = np.dtype(dtype)
        if self.folder is None or length == 0:
            return np.empty(length, kind)
        size = length * kind.itemsize
        with self._named(size), tempfile.TemporaryFile(dir=self.folder) as file:
            _reserve(file.fileno(), size)
            return self._mapped(file.fileno(), length, kind)

    def growing(self, dtype: Any) -> GrowingArray:
        """Return an array that is written from its beginning to an end that is not known yet."""
        return GrowingArray(self, np.dtype(dtype))

    @contextmanager
    def _named(self, size: int) -> Iterator[None]:
        """Name the folder and the remedy in an error of the disk."""
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            what = f"no room for {size / 2**20:,.0f} MiB more" if full else str(error)
            advice = "name a folder with more room for temporary files, or leave the memory limit out"
            raise ModelError(f"temporary files in {self.folder}: {what}; {advice}", kind="disk") from error

    def _mapped(self, file: int, length: int, kind: np.dtype[Any]) -> np.ndarray:
        mapped = ScratchMap(file, length * kind.itemsize)
        self._maps.add(mapped)
        return np.frombuffer(mapped, kind, length)

    def release(self) -> None:
        """Free the memory of the files' contents; written data stays in the files."""
        for mapped in list(self._maps):
            mapped.madvise(mmap.MADV_DONTNEED)


class GrowingArray:
    """An array in the making, see `ArrayAllocator.growing`."""

    def __init__(self, allocator: ArrayAllocator, kind: np.dtype[Any]) -> None:
        self.kind = kind
        self.length = 0
        self._allocator = allocator
        self._parts: list[np.ndarray] = []
        with allocator._named(0):
            self._file = None if allocator.folder is None else tempfile.TemporaryFile(dir=allocator.folder)  # noqa: SIM115

    def append(self, values: np.ndarray) -> None:
        """Write further values.

        Raises:
            ModelError: The disk has no space; kind "disk".
        """
        values = np.ascontiguousarray(values, self.kind)
        self.length += len(values)
        if self._file is None:
            self._parts.append(values)
            return
        with self._allocator._named(values.nbytes):
            self._file.write(values.data)

    def finished(self) -> np.ndarray:
        """Return the whole array; nothing can be appended afterwards."""
        if self._file is None:
            return self._parts[0] if len(self._parts) == 1 else np.concatenate([np.empty(0, self.kind), *self._parts])
        with self._allocator._named(self.length * self.kind.itemsize), self._file as file:
            file.flush()
            if not self.length:
                return np.empty(0, self.kind)
            return self._allocator._mapped(file.fileno(), self.length, self.kind)


IN_MEMORY = ArrayAllocator()


def _reserve(file: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
        return
    room = os.fstatvfs(file)  # not Linux
    if room.f_bavail * room.f_frsize < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.ftruncate(file, size)
