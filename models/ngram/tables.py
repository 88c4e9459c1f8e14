"""An n-gram model as arrays: what is on disk, in memory and looked things up in.

Per order k: sorted keys (order 2 and up; see `lookup.py`), natural-log probabilities, and back-off weights (below the
highest order). Files are plain `.npy`, opened as memory maps: a model that is larger than memory can be asked, and
processes share its pages.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..base import ModelError
from .counts import NGramCounts
from .kneser_ney import Estimate

FORMAT = 1
FACTS = "ngram.json"


@dataclass(frozen=True)
class Tables:
    """The arrays of a back-off model of order N.

    Args:
        keys: Of orders 2 … N: keys[k - 2], sorted int64.
        logp: Of orders 1 … N: logp[k - 1], float64, nats. At order 1 one entry per id, −inf for given ids.
        backoff: Of orders 1 … N − 1: backoff[k - 1], float64, log γ; 0 where nothing longer was seen.
        vocabulary_size: V.
        given: Ids that are never predicted.
    """

    keys: tuple[np.ndarray, ...]
    logp: tuple[np.ndarray, ...]
    backoff: tuple[np.ndarray, ...]
    vocabulary_size: int
    given: tuple[int, ...]

    @classmethod
    def pack(cls, counts: NGramCounts, estimate: Estimate) -> Tables:
        """Keep what scoring needs of the counts and an estimate made from them."""
        keys = tuple(entry.keys_M for entry in counts.orders[1:])
        return cls(keys, estimate.logp, estimate.backoff, counts.vocabulary_size, counts.given)

    @property
    def order(self) -> int:
        """N, the longest n-gram."""
        return len(self.logp)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return every array by its file name (without ending)."""
        named: dict[str, np.ndarray] = {}
        for k in range(1, self.order + 1):
            named[f"logp_{k}"] = self.logp[k - 1]
            if k > 1:
                named[f"keys_{k}"] = self.keys[k - 2]
            if k < self.order:
                named[f"backoff_{k}"] = self.backoff[k - 1]
        return named

    def save(self, folder: Path) -> None:
        """Write `ngram.json` and one `.npy` per array."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in self.arrays().items():
            np.save(folder / f"{name}.npy", array)
        facts = {
            "format": FORMAT, "order": self.order, "vocabulary_size": self.vocabulary_size, "given": list(self.given),
            "ngrams": [len(array) for array in self.logp],
        }  # fmt: skip
        (folder / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Tables:
        """Open what `save` wrote, memory-mapped.

        Raises:
            ModelError: A file is missing, damaged, or from a newer version; kind "bundle".
        """
        facts = _read_facts(folder)
        orders = range(1, int(facts["order"]) + 1)
        lengths: Sequence[int] = facts["ngrams"]
        tables = cls(
            keys=tuple(_open(folder, f"keys_{k}", lengths[k - 1], np.int64) for k in orders[1:]),
            logp=tuple(_open(folder, f"logp_{k}", lengths[k - 1], np.float64) for k in orders),
            backoff=tuple(_open(folder, f"backoff_{k}", lengths[k - 1], np.float64) for k in orders[:-1]),
            vocabulary_size=int(facts["vocabulary_size"]),
            given=tuple(facts["given"]),
        )
        if len(tables.logp[0]) != tables.vocabulary_size:
            raise ModelError(f"{folder / FACTS}: {len(tables.logp[0])} unigrams, V {tables.vocabulary_size}", "bundle")
        return tables


def _read_facts(folder: Path) -> dict:
    path = folder / FACTS
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["format"] > FORMAT:
            raise ModelError(f"{path}: format {facts['format']}; this version reads up to {FORMAT}", kind="bundle")
        if not (facts["order"] == len(facts["ngrams"]) >= 1 and {"vocabulary_size", "given"} <= facts.keys()):
            raise ValueError("fields that contradict each other")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} cannot be read as an n-gram model: {error}", kind="bundle") from error
    return facts


def _open(folder: Path, name: str, length: int, dtype: type) -> np.ndarray:
    path = folder / f"{name}.npy"
    try:
        array = np.load(path, mmap_mode="r" if length else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ModelError(f"{path} is missing or damaged: {error}", kind="bundle") from error
    if array.shape != (length,) or array.dtype != dtype:
        raise ModelError(f"{path} holds {array.dtype} {array.shape}; expected {np.dtype(dtype)} ({length},)", "bundle")
    # A plain view of the map: indexing np.memmap itself costs a Python call per access.
    return array.view(np.ndarray)
