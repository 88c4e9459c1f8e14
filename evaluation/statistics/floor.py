"""Compute the source entropy of the embedded corpus (the floor of all models), and the gap of each model to it.

The grammar knows the exact probability of each of its texts, and by Gibbs' inequality no model can need fewer bits for
them on average. A model's gap is the mean difference over reviews between its nats and the grammar's. It estimates the
Kullback–Leibler divergence between the two. Real reviews were not written by a grammar and have no floor.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from core.errors import ReviewLMError
from evaluation.scoring.metrics import LN2

JUDGED = pl.Schema({"review_id": pl.String(), "bytes": pl.Int64(), "nats": pl.Float64()})
"""Columns of judged reviews: `nats` is −log p(text | stars) under the grammar, null if it cannot generate the text."""



@dataclass(frozen=True)
class Floor:
    """Sums over the reviews that the grammar can generate.

    Args:
        reviews: Reviews that were judged.
        explained: Reviews that the grammar can generate; the sums are over these.
        nats: −Σ log p(text | stars) under the grammar.
        bytes: UTF-8 bytes, including one for each end.
    """

    reviews: int
    explained: int
    nats: float
    bytes: int

    @property
    def bits_per_byte(self) -> float:
        """Lower bound of the bits per byte of any model, up to the sampling error of these reviews."""
        return self.nats / LN2 / self.bytes

    def to_dict(self) -> dict[str, Any]:
        """Return the sums and the floor."""
        return {**asdict(self), "bits_per_byte": self.bits_per_byte}


def floor_of(judged: pl.DataFrame) -> Floor:
    """Add up the rows of judged reviews (`JUDGED`)."""
    explained = judged.drop_nulls("nats")
    return Floor(len(judged), len(explained), float(explained["nats"].sum()), int(explained["bytes"].sum()))


def floor_nats(judged: pl.DataFrame, scores: pl.DataFrame) -> np.ndarray:
    """Return the grammar's nats (D,) of each scored review, NaN if it was not judged or cannot be explained.

    Args:
        scores: Columns review_id and bytes; see `evaluation.scoring.score.score_stream`.

    Raises:
        ReviewLMError: A review has other bytes in the two tables, so they are not of the same text.
    """
    joined = scores.select("review_id", "bytes").join(
        judged, on="review_id", how="left", suffix="_judged", maintain_order="left", validate="1:1"
    )
    if len(other := joined.filter(pl.col("bytes") != pl.col("bytes_judged"))):
        raise ReviewLMError(
            "The floor was computed on other texts than the scores",
            value=f"review {other['review_id'][0]}",
            remedy="run again with --rebuild floor",
        )
    return joined["nats"].fill_null(float("nan")).to_numpy()
