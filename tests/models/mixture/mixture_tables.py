"""Parts small enough to compute every expected number by hand, and streams to tune on."""

from __future__ import annotations

import numpy as np

from models.mixture.parts import Part
from models.tokens.special import BOS, CONTEXT_IDS
from tests.models.table_lm import HistoryLM, TableLM, TableSpec

SIZE = 14
WORDS = [token for token in range(SIZE) if token not in CONTEXT_IDS]


def table_part(seed: int, name: str = "", history: bool = False, sharpness: float = 1.5) -> Part:
    kind = HistoryLM if history else TableLM
    return Part(name or f"table{seed}", TableSpec(), kind.random(SIZE, seed, sharpness))


class Stream:
    """The parts of a TokenStream that tuning uses."""

    def __init__(self, documents):
        self.ids = np.array([token for document in documents for token in document], np.uint16)
        self.offsets = np.cumsum([0, *map(len, documents)])

    def __len__(self):
        return len(self.offsets) - 1

    def document(self, index):
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    def require(self, vocabulary):
        """Any vocabulary will do."""


def documents(count: int, seed: int, longest: int = 12) -> list[list[int]]:
    draw = np.random.default_rng(seed)
    words = draw.choice([w for w in WORDS if w != 2], (count, longest), p=_zipf(len(WORDS) - 1))
    return [[BOS, 3 + int(draw.integers(6)), *map(int, row[: draw.integers(longest)]), 2] for row in words]


def _zipf(count: int) -> np.ndarray:
    weights = 1.0 / np.arange(1, count + 1)
    return weights / weights.sum()
