"""The floor under every model: what the embedded corpus costs the grammar that wrote it.

The grammar knows the exact probability of each of its texts, and by Gibbs' inequality no model can need fewer bits
for them on average. Real reviews were written by no grammar and have no known floor.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from evaluation.metrics import LN2

MIN_EXPLAINED = 0.99
"""Share of the reviews that the grammar must be able to have made."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Floor:
    """Sums over the reviews that the grammar can have made.

    Args:
        reviews: Reviews that were judged.
        explained: Those that the grammar can have made; the sums are over these.
        nats: −Σ log p(text | stars) under the grammar.
        bytes: UTF-8 bytes, one for each end included.
    """

    reviews: int
    explained: int
    nats: float
    bytes: int

    @property
    def bits_per_byte(self) -> float:
        """Bits of a byte of text that no model can go below, up to the luck of this sample."""
        return self.nats / LN2 / self.bytes

    def to_dict(self) -> dict[str, Any]:
        """Return the sums and the floor."""
        return {**asdict(self), "bits_per_byte": self.bits_per_byte}


def floor_of(reviews: pl.DataFrame, sample: int | None = None, seed: int = 1) -> Floor | None:
    """Return the floor of the test reviews, or None where the grammar cannot have written them.

    Args:
        reviews: Columns text (cleaned), stars (0..5, 0: unknown) and bytes (the end included).
        sample: Judge at most so many reviews, drawn by *seed*: an estimate then, on `Floor.reviews` of them.
        seed: Of the draw.

    Returns:
        None if more than 1 % of the reviews are beyond the grammar; the log says how far it got.
    """
    # Imported late: the grammar is large, and whoever only draws a floor does not need it.
    from corpus.grammar import log_probability

    if sample is not None and sample < len(reviews):
        reviews = reviews[np.sort(np.random.default_rng(seed).choice(len(reviews), sample, replace=False))]
    nats, explained_bytes, explained, missed = 0.0, 0, 0, 0
    for text, stars, size in reviews.select("text", "stars", "bytes").iter_rows():
        logp = log_probability(text, int(stars or 0))
        if logp is not None:
            nats, explained_bytes, explained = nats - logp, explained_bytes + size, explained + 1
            continue
        missed += 1
        # Real reviews are turned away after a few, not after all.
        if missed > (1 - MIN_EXPLAINED) * len(reviews):
            log.info("no floor: the grammar explains %d of the first %d reviews", explained, explained + missed)
            return None
    log.info("floor: the grammar explains %d of %d reviews", explained, len(reviews))
    return Floor(len(reviews), explained, nats, explained_bytes) if explained else None
