"""Read arrays from numpy's files, in any thread, and write arrays that are larger than memory."""

from __future__ import annotations

import mmap
from os import PathLike
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np

BLOCK = 1 << 20
"""Numbers that `save_array` writes at a time."""
PARSING = Lock()
"""Held by whoever parses Python text: in Python 3.11 two threads that do so at once fail with a SystemError (CPython
issue 106905), and numpy parses the head of each array."""


def load_array(path: str | PathLike[str], mmap_mode: Literal["r"] | None = None) -> np.ndarray:
    """Read a `.npy` file, or map it to memory; errors are those of `numpy.load`."""
    with PARSING:
        array: np.ndarray = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    return array


def load_arrays(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """Read all arrays of a `.npz` file, by name; errors are those of `numpy.load`."""
    with PARSING, np.load(path, allow_pickle=False) as file:
        return dict(file)


def file_of(array: np.ndarray) -> str:
    """Return the name of the file from which an array is mapped; "an array in memory" if it is not mapped."""
    part: object = array
    while isinstance(part, np.ndarray):
        if isinstance(part, np.memmap) and part.filename is not None:
            return str(part.filename)
        part = part.base
    return "an array in memory"


class ScratchMap(mmap.mmap):
    """The memory map of a temporary file that holds one array; it can be in a weak set."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


def save_array(path: Path, array: np.ndarray, dtype: Any = None) -> None:
    """Write a `.npy` file as `numpy.save` does, in blocks: a file-backed array is never in memory as a whole.

    Raises:
        OSError: The file cannot be written.
    """
    kind = np.dtype(array.dtype if dtype is None else dtype)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": array.shape}
        )
        for first in range(0, len(array), BLOCK):
            file.write(np.ascontiguousarray(array[first : first + BLOCK], kind).data)
            let_go(array)


def let_go(array: np.ndarray) -> None:
    """Free the memory of an array in a `ScratchMap`; without effect on any other array."""
    mapped = array.base
    while isinstance(mapped, np.ndarray | memoryview):
        mapped = mapped.base if isinstance(mapped, np.ndarray) else mapped.obj
    if isinstance(mapped, ScratchMap):
        mapped.madvise(mmap.MADV_DONTNEED)
