"""Compute the source entropy of the embedded corpus (the floor of all models), and the gap of each model to it.

The grammar knows the exact probability of each of its texts, and by Gibbs' inequality no model can need fewer bits for
them on average. A model's gap is the mean difference over reviews between its nats and the grammar's. It estimates the
Kullback–Leibler divergence between the two. Real reviews were not written by a grammar and have no floor.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from reviewlm.core.errors import ReviewLMError
from reviewlm.evaluation.scoring.metrics import LN2

JUDGED = pl.Schema(
    {
        "review_id": pl.String(),
        "bytes": pl.Int64(),
        "nats": pl.Float64(),
    }
)
"""Columns of judged reviews: `nats` is −log p(text | stars) under the grammar, null if it cannot generate the text."""


def floor_of(judged: pl.DataFrame) -> dict[str, float]:
    """Return the floor of judged reviews (`JUDGED`).

    Returns:
        reviews (judged), explained (those that the grammar can generate; the sums are over these), nats
        (−Σ log p(text | stars) under the grammar), bytes, and bits_per_byte: a lower bound of those of any model, up to
        the sampling error of these reviews.
    """
    explained = judged.drop_nulls("nats")
    nats = float(explained["nats"].sum())
    size = int(explained["bytes"].sum())
    return {
        "reviews": len(judged),
        "explained": len(explained),
        "nats": nats,
        "bytes": size,
        "bits_per_byte": nats / LN2 / size,
    }


def floor_nats(judged: pl.DataFrame, scores: pl.DataFrame) -> np.ndarray:
    """Return the grammar's nats (D,) of each scored review, NaN if it was not judged or cannot be explained.

    Args:
        scores: Columns review_id and bytes; see `reviewlm.evaluation.scoring.score.score_stream`.

    Raises:
        ReviewLMError: A review has other bytes in the two tables, so they are not of the same text.
    """
    joined = scores.select("review_id", "bytes").join(
        judged,
        on="review_id",
        how="left",
        suffix="_judged",
        maintain_order="left",
        validate="1:1",
    )
    if len(other := joined.filter(pl.col("bytes") != pl.col("bytes_judged"))):
        raise ReviewLMError(
            "The floor was computed on other texts than the scores",
            value=f"review {other['review_id'][0]}",
            remedy="run again with --rebuild floor",
        )

    return joined["nats"].fill_null(float("nan")).to_numpy()
