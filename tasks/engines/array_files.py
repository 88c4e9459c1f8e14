"""Pickle a function for workers that share a folder: large arrays become files, which workers map to memory."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from models.npy_files import load_array

LARGE = 1 << 16
"""Size in bytes from which an array is shared as a file instead of being pickled with the function."""


class Shares(Protocol):
    """An engine that keeps arrays as files; see `training.ngram.engine.ShardEngine`."""

    def share(self, array: np.ndarray) -> np.ndarray:
        """Write an array to a file, and return its memory map."""
        ...

    def path(self, array: np.ndarray) -> str | None:
        """Return the file of a shared array."""
        ...


class ArrayPickler(pickle.Pickler):
    """Pickler that writes shared and large arrays as file paths; files of large arrays exist as long as *kept*."""

    def __init__(self, file: io.BytesIO, engine: Shares) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.engine = engine
        self.kept: list[np.ndarray] = []

    def reducer_override(self, value: Any) -> Any:
        """Replace an array that has a file by a call that maps the file."""
        if not isinstance(value, np.ndarray):
            return NotImplemented
        path = self.engine.path(value)
        if path is None and value.nbytes >= LARGE:
            self.kept.append(self.engine.share(value))
            path = self.engine.path(self.kept[-1])
        return NotImplemented if path is None else (mapped, (path,))


def pickled(work: Callable[[int], Any], engine: Shares) -> tuple[bytes, list[np.ndarray]]:
    """Return a function as bytes, and the arrays whose files must stay as long as workers read it."""
    file = io.BytesIO()
    pickler = ArrayPickler(file, engine)
    pickler.dump(work)
    return file.getvalue(), pickler.kept


def mapped(path: str) -> np.ndarray:
    """Map the file of an array to memory."""
    return load_array(path, "r").view(np.ndarray)
