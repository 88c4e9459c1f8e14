"""Keep a network's features on disk, so that another model with the same network need not read the same texts again.

A mixture that is observed reads texts with its network, and that network is observed on the same texts when its own
turn comes. Reading is most of the work; from the features on, each model computes its distributions itself.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

MOST_BYTES = 256 << 20
"""Maximum size of one network's files that one process writes: 26,000 positions of 640 cells take 70 MB."""


class Features(NamedTuple):
    """The features at N requested positions of texts.

    Args:
        text_N: Row of the text in the ids.
        position_N: Position in this text.
        features_NE: What the output layer gets (float32).
    """

    text_N: np.ndarray
    position_N: np.ndarray
    features_NE: np.ndarray


@runtime_checkable
class KeepsFeatures(Protocol):
    """A model whose `predictions` look up and write `kept_features`, where it is given some."""

    kept_features: KeptFeatures | None


class KeptFeatures:
    """The features of one network in a folder. Several processes may use it at a time.

    Args:
        folder: For this network alone: nothing in the files says which network they are of.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._left = folder, MOST_BYTES

    def read(
        self, ids_BT: np.ndarray, wanted_BT: np.ndarray, compute: Callable[[], Iterator[Features]]
    ) -> Iterator[Features]:
        """Yield what *compute* yields for these arguments of `predictions`; the same to the bit where it was kept.

        It is kept once all of it was asked for.
        """
        file = self._folder / f"{_digest(ids_BT, wanted_BT)}.npz"
        if file.is_file():
            with np.load(file) as arrays:
                for number in range(len(arrays.files) // len(Features._fields)):
                    yield Features(*(arrays[f"{name}.{number}"] for name in Features._fields))
            return
        blocks = []
        for some in compute():
            blocks.append(some)
            yield some
        self._write(file, blocks)

    def _write(self, file: Path, blocks: list[Features]) -> None:
        """Write a file; without room for it, write none: the other model then reads the texts itself."""
        arrays = {f"{name}.{n}": getattr(some, name) for n, some in enumerate(blocks) for name in Features._fields}
        self._left -= sum(array.nbytes for array in arrays.values())
        if self._left < 0:
            return
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._folder) as unfinished:
                np.savez(whole := Path(unfinished) / file.name, **arrays)
                whole.replace(file)


def _digest(ids_BT: np.ndarray, wanted_BT: np.ndarray) -> str:
    shape = repr((ids_BT.shape, ids_BT.dtype.str)).encode()
    return hashlib.sha256(shape + np.ascontiguousarray(ids_BT).tobytes() + np.packbits(wanted_BT).tobytes()).hexdigest()
