"""Store an n-gram model as arrays, the same on disk and in memory.

Per order k: the last words of its n-grams and where each context's n-grams begin (order 2 and up; see
`lookup.Followers`), natural-log probabilities, and back-off weights (below the highest order). Files are plain `.npy`,
opened as memory maps: a model may be larger than memory, it opens at once, and processes share its pages.

    bytes per n-gram     middle orders     highest order
    "single"             14 or 16          6 or 8
    "double"             22 or 24          10 or 12        the smaller one up to 65,536 words

"double" is the precision of the estimate: every context sums to 1 within 1e-9. "single" is the precision of ARPA files
and KenLM: log10 p within 1e-6.

For compiled look-ups (`step_kernels.py`), one array has the addresses of all: numba unpacks each argument of a call,
and the 24 arrays of a model of order 5 took longer than the look-ups of a sentence. One compilation serves all orders.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Self

import numpy as np

from ..atomic_files import load_array, not_written, save_array
from ..base import ModelError, translate_read_errors
from .lookup import SHORT, Followers, apart, log_probabilities, row_type, word_type

FORMAT = 2
FACTS = "ngram.json"
STEP_KERNELS = f"{__package__}.step_kernels"
Precision = Literal["single", "double"]
_SHORT = 1 << 14
_PLACES = 32
FLOATS: dict[str, type] = {"single": np.float32, "double": np.float64}


@dataclass(frozen=True)
class Tables:
    """The arrays of a back-off model of order N.

    Args:
        followers: For orders 2 … N: followers[k - 2], the n-grams by context and last word.
        logp: For orders 1 … N: logp[k - 1], float64 or float32, nats. At order 1 one entry per id, −inf for given ids.
        backoff: For orders 1 … N − 1: backoff[k - 1], same type, log γ; 0 if no longer n-gram was seen.
        vocabulary_size: V.
        given: Ids that are never predicted.
    """

    followers: tuple[Followers, ...]
    logp: tuple[np.ndarray, ...]
    backoff: tuple[np.ndarray, ...]
    vocabulary_size: int
    given: tuple[int, ...]

    @property
    def order(self) -> int:
        """Length N of the longest n-gram."""
        return len(self.logp)

    @property
    def precision(self) -> Precision:
        """Precision of the numbers: float32 ("single") or float64 ("double")."""
        return "single" if self.logp[0].dtype == np.float32 else "double"

    def contexts(self, order: int) -> np.ndarray:
        """Return the row, at the order below, of the context of each n-gram; (M,) int64."""
        return self.followers[order - 2].contexts()

    def words(self, order: int) -> np.ndarray:
        """Return the last word of each n-gram of order 2 and up; (M,), an unsigned type."""
        return self.followers[order - 2].word_M

    @cached_property
    def packed(self) -> Packed:
        """The arrays as compiled look-ups take them."""
        return Packed(self.followers, self.logp, self.backoff)

    def log_probabilities(self, ids_BT: np.ndarray) -> np.ndarray:
        """Return log p of every token after all tokens before it in its row, (B, T) float64; 0 for `lookup.NONE`.

        Short texts are read by `step_kernels.py`, with the same result, unless that would first import numba.
        """
        if ids_BT.size <= SHORT and STEP_KERNELS in sys.modules:
            logp_BT: np.ndarray = _step_kernels().log_probabilities(ids_BT, self.packed)
            return logp_BT
        ids_BL = apart(ids_BT)
        logp_T = log_probabilities(ids_BL.ravel(), self.followers, self.logp, self.backoff)
        return logp_T.reshape(ids_BL.shape)[:, 1:]

    def to(self, precision: Precision) -> Self:
        """Return the tables with numbers of this precision."""
        kind = FLOATS[precision]
        logp: tuple[np.ndarray, ...] = tuple(array.astype(kind, copy=False) for array in self.logp)
        backoff: tuple[np.ndarray, ...] = tuple(
            array.astype(kind, copy=False) for array in self.backoff
        )
        return replace(self, logp=logp, backoff=backoff)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return every array by its file name (without ending)."""
        named: dict[str, np.ndarray] = {}
        for k in range(1, self.order + 1):
            named[f"logp_{k}"] = self.logp[k - 1]
            if k > 1:
                named[f"words_{k}"] = self.followers[k - 2].word_M
                named[f"first_{k}"] = self.followers[k - 2].first_C
            if k < self.order:
                named[f"backoff_{k}"] = self.backoff[k - 1]
        return named

    def save(self, folder: Path, precision: Precision | None = None) -> None:
        """Write one `.npy` per array into *folder* and then `ngram.json`; other files stay.

        Arrays are written in blocks: if they are in temporary files (`training/ngram/counting/memory.py`), no array is
        ever in memory as a whole.

        Args:
            folder: Folder of the files; created if missing.
            precision: Precision of the numbers in the files; None does not change it.

        Raises:
            ModelError: The folder cannot be written, or the disk is full; kind "disk".
        """
        if precision is None:
            number = self.logp[0].dtype
        else:
            number = np.dtype(FLOATS[precision])

        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / FACTS).unlink(missing_ok=True)
            for name, array in self.arrays().items():
                path = folder / f"{name}.npy"
                path.unlink(missing_ok=True)  # an old one may be mapped, also by these tables
                save_array(path, array, number if array.dtype.kind == "f" else array.dtype)
            _write_facts(folder, self, precision or self.precision)
        except OSError as error:
            raise not_written(folder, error) from error

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Open tables that `save` wrote, memory-mapped.

        Raises:
            ModelError: A file is missing, damaged, or of another format; kind "bundle".
        """
        facts = _read_facts(folder)
        size = facts["vocabulary_size"]
        lengths = facts["ngrams"]
        given = tuple(facts["given"])
        kind = FLOATS[facts["precision"]]
        logp = tuple(
            _open(folder, f"logp_{k}", length, kind) for k, length in enumerate(lengths, start=1)
        )
        backoff = tuple(
            _open(folder, f"backoff_{k}", length, kind)
            for k, length in enumerate(lengths[:-1], start=1)
        )
        orders = range(2, len(lengths) + 1)
        followers = tuple(_followers(folder, k, lengths, size) for k in orders)
        return cls(
            followers,
            logp,
            backoff,
            size,
            given,
        )


@cache
def _step_kernels() -> ModuleType:
    """Return the module of the compiled look-ups; if another thread is importing it, wait until it is complete."""
    return import_module(STEP_KERNELS)


def _write_facts(
    folder: Path,
    tables: Tables,
    precision: Precision,
) -> None:
    facts = {
        "format": FORMAT,
        "order": tables.order,
        "vocabulary_size": tables.vocabulary_size,
        "given": list(tables.given),
        "ngrams": [len(array) for array in tables.logp],
        "precision": precision,
    }
    (folder / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _read_facts(folder: Path) -> dict:
    path = folder / FACTS
    with translate_read_errors(f"the n-gram model {path}"):
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["format"] != FORMAT:
            raise ModelError(
                f"{path}: format {facts['format']}; this version reads {FORMAT}", kind="bundle"
            )

        if not (
            facts["order"] == len(facts["ngrams"]) >= 1
            and {"vocabulary_size", "given"} <= facts.keys()
        ):
            raise ValueError("fields that contradict each other")

        size = facts["vocabulary_size"]
        given = facts["given"]
        if not all(
            type(number) is int and number >= 0 for number in (size, *facts["ngrams"], *given)
        ):
            raise ValueError("vocabulary_size, ngrams and given hold whole numbers, 0 or more")

        if facts["ngrams"][0] != size or not all(token < size for token in given):
            raise ValueError(f"{facts['ngrams'][0]} unigrams and given ids {given} for V {size}")
        if facts["precision"] not in FLOATS:
            raise ValueError(f"precision {facts['precision']!r}")
        return dict(facts)


def _followers(
    folder: Path,
    order: int,
    lengths: Sequence[int],
    vocabulary_size: int,
) -> Followers:
    contexts = lengths[order - 2]
    ngrams = lengths[order - 1]
    word_M = _open(folder, f"words_{order}", ngrams, word_type(vocabulary_size))
    first_C = _open(folder, f"first_{order}", contexts + 1, row_type(ngrams))
    if (first_C[0], first_C[-1]) != (0, ngrams):
        raise ModelError(
            f"{folder / f'first_{order}.npy'} ends at {first_C[-1]}; there are {ngrams} n-grams",
            "bundle",
        )

    looked_at = _some(first_C)
    if (looked_at[1:] < looked_at[:-1]).any():
        raise ModelError(
            f"{folder / f'first_{order}.npy'} holds offsets that do not ascend", "bundle"
        )
    if int(_some(word_M).max(initial=0)) >= vocabulary_size:
        raise unknown_words(folder / f"words_{order}.npy", vocabulary_size)

    return Followers(word_M, first_C)


def unknown_words(file: Path | str, vocabulary_size: int) -> ModelError:
    """Return the error for a file of words with ids outside the vocabulary."""
    return ModelError(
        f"{file} is damaged: it holds ids from {vocabulary_size} on; V is that", "bundle"
    )


def _some(array: np.ndarray) -> np.ndarray:
    """Return the entries to check when a file is opened: all of a short array, evenly spaced ones of a long array.

    Each entry may cost a read from disk, and a model should open at once.
    """
    if len(array) <= _SHORT:
        return array
    return array[:: len(array) // _PLACES]


def _open(
    folder: Path,
    name: str,
    length: int,
    dtype: type,
) -> np.ndarray:
    path = folder / f"{name}.npy"
    try:
        array = load_array(path, "r" if length else None)
    except (OSError, ValueError, EOFError) as error:
        raise ModelError(f"{path} is missing or damaged: {error}", kind="bundle") from error

    if array.shape != (length,) or array.dtype != dtype:
        raise ModelError(
            f"{path} holds {array.dtype} {array.shape}; expected {np.dtype(dtype)} ({length},)",
            "bundle",
        )

    # Return a plain view of the map: indexing np.memmap itself costs a Python call per access.
    return array.view(np.ndarray)


class Packed:
    """The arrays of a model and, at `address`, an array (int64) of where they are.

    It holds the order N, and then for each order k from 1 to N twelve numbers: address, bytes of an entry and number of
    entries of the words of order k + 1 (`Followers.word_M`), of their offsets (`first_C`), of log p of order k and of
    its back-off weights. The highest order has log p only; its other numbers are 0. `step_kernels.read` reads them.

    The addresses are right as long as this object is alive: it keeps the arrays. A copy, also in another process, has
    addresses of its own.

    Args:
        followers, logp, backoff: See `Tables`. Of an array that is no whole block of memory, a copy is kept.
    """

    def __init__(
        self,
        followers: Sequence[Followers],
        logp: Sequence[np.ndarray],
        backoff: Sequence[np.ndarray],
    ) -> None:
        self._arrays = tuple(followers), tuple(logp), tuple(backoff)
        self._whole: list[np.ndarray] = []
        numbers = [len(logp)]
        for longer, logp_M, backoff_M in zip_longest(followers, logp, backoff):
            words: tuple[np.ndarray | None, ...] = (None, None)
            if longer is not None:
                words = (longer.word_M, longer.first_C)

            for array in (*words, logp_M, backoff_M):
                if array is None:
                    numbers += (0, 0, 0)
                else:
                    self._whole.append(np.require(array, requirements=["C", "A"]))
                    numbers += (self._whole[-1].ctypes.data, array.itemsize, len(array))

        self._numbers = np.array(numbers, np.int64)
        self.order = len(logp)
        self.address = int(self._numbers.ctypes.data)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arrays
