"""Read arrays from numpy's files, in any thread."""

from __future__ import annotations

from os import PathLike
from threading import Lock
from typing import Literal

import numpy as np

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
