"""Parts small enough to compute every expected number by hand, and streams to tune on."""

from __future__ import annotations

import numpy as np

from reviewlm.models.mixture.parts import Part
from reviewlm.models.tokens.special import BOS, CONTEXT_IDS
from tests.models.table_lm import HistoryLM, TableLM, TableSpec
from tests.training.ngram.conftest import Stream  # noqa: F401

SIZE = 14
WORDS = [token for token in range(SIZE) if token not in CONTEXT_IDS]


def table_part(
    seed: int,
    name: str = "",
    history: bool = False,
    sharpness: float = 1.5,
) -> Part:
    kind = HistoryLM if history else TableLM
    return Part(name or f"table{seed}", TableSpec(), kind.random(SIZE, seed, sharpness))


def documents(
    count: int,
    seed: int,
    longest: int = 12,
) -> list[list[int]]:
    draw = np.random.default_rng(seed)
    words = draw.choice([w for w in WORDS if w != 2], (count, longest), p=_zipf(len(WORDS) - 1))
    return [
        [BOS, 3 + int(draw.integers(6)), *map(int, row[: draw.integers(longest)]), 2]
        for row in words
    ]


def _zipf(count: int) -> np.ndarray:
    weights = 1.0 / np.arange(1, count + 1)
    return weights / weights.sum()
