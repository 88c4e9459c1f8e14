"""Find reviews that are odd to a model, by comparing each review's surprisal with known reviews of similar length.

The surprisal is the cost of a review in bits per byte, with unknown words spelt out. Short reviews cost more per byte
and vary more, so a review is compared with the reviews of known origin that are closest to it in length. Its p-value is
the share of them, with the review itself counted too, that are at least as surprising (a conformal p-value; Vovk,
Gammerman and Shafer 2005, chapter 2). If the review comes from the same source, its p-value is below α with a
probability of at most α, for any model.

A review can be odd in two ways. Foreign, garbled or shuffled text is too surprising. A model's own writing, and text
copied from its training text, is too predictable. A fluent text of another model may be neither.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from reviewlm.evaluation.scoring.metrics import LN2

NEIGHBOURS = 400
"""Number of known reviews that a review is compared with; a p-value is a multiple of 1 / (NEIGHBOURS + 1)."""
MIDDLE_HALF = 1.349
"""Interquartile range of a normal distribution, in standard deviations."""
SURPRISING = "too surprising"
PREDICTABLE = "too predictable"


def surprise(rows: pl.DataFrame) -> np.ndarray:
    """Return the bits per byte of each review, with unknown words spelt out.

    Args:
        rows: Columns nats, spelling_nats and bytes, as returned by `reviewlm.evaluation.scoring.score.score_stream`.
    """
    return ((rows["nats"] + rows["spelling_nats"]) / rows["bytes"] / LN2).to_numpy()


class OddScores(NamedTuple):
    """N reviews, each compared with the known ones of its length.

    Args:
        above_N: p-value of being too surprising.
        below_N: p-value of being too predictable.
        expected_N: Median of the neighbours, in bits per byte.
        deviation_N: Distance above the median, in standard deviations estimated from the interquartile range of the
            neighbours. It ranks reviews that are odder than all neighbours, because these share the smallest p-value.
    """

    above_N: np.ndarray
    below_N: np.ndarray
    expected_N: np.ndarray
    deviation_N: np.ndarray

    @property
    def two_sided_N(self) -> np.ndarray:
        """Two-sided p-value: the probability of being odd in either way."""
        return np.minimum(1.0, 2 * np.minimum(self.above_N, self.below_N))


def compare(
    reference: pl.DataFrame,
    batch: pl.DataFrame,
    neighbours: int = NEIGHBOURS,
) -> OddScores:
    """Compare every review of a batch with known reviews.

    Args:
        reference: Scored reviews of known origin that the model was not trained on (see `surprise`).
        batch: Scored reviews to be judged.
        neighbours: Number of known reviews closest in length that each review is compared with.
    """
    sizes_R, sizes_N = (rows["bytes"].to_numpy() for rows in (reference, batch))
    return compare_values(
        surprise(reference),
        sizes_R,
        surprise(batch),
        sizes_N,
        neighbours,
    )


def compare_values(
    known_R: np.ndarray,
    sizes_R: np.ndarray,
    found_N: np.ndarray,
    sizes_N: np.ndarray,
    neighbours: int = NEIGHBOURS,
) -> OddScores:
    """Compare as `compare` does, with any figure of a review, given the reviews' sizes in bytes."""
    order_R = np.argsort(sizes_R, kind="stable")
    sorted_R = known_R[order_R]
    lengths_R = sizes_R[order_R]
    count = min(neighbours, len(sorted_R))
    # If several known reviews have the same length, centre on the middle one.
    middle_N = (
        sum(np.searchsorted(lengths_R, sizes_N, side=side) for side in ("left", "right")) // 2
    )
    first_N = np.clip(middle_N - count // 2, 0, len(sorted_R) - count)
    beside_NK = sorted_R[first_N[:, None] + np.arange(count)]
    low_N, median_N, high_N = np.quantile(beside_NK, (0.25, 0.5, 0.75), axis=1)
    spread_N = np.maximum((high_N - low_N) / MIDDLE_HALF, 1e-12)
    above_N = (1 + (beside_NK >= found_N[:, None]).sum(axis=1)) / (count + 1)
    below_N = (1 + (beside_NK <= found_N[:, None]).sum(axis=1)) / (count + 1)
    return OddScores(above_N, below_N, median_N, (found_N - median_N) / spread_N)


def odd_table(
    reference: pl.DataFrame,
    batch: pl.DataFrame,
    count: int,
) -> pl.DataFrame:
    """Return the oddest reviews of a batch, the oddest first.

    Args:
        reference: See `compare`.
        batch: See `compare`; it also needs review_id, stars and text.
        count: Maximum number of rows.

    Returns:
        review_id, stars, bytes, bits_per_byte, expected and deviation (see `OddScores`), p_value (two-sided), odd ("too
        surprising" or "too predictable"), text (its beginning).
    """
    scores = compare(reference, batch)
    odd_N = np.where(scores.deviation_N > 0, SURPRISING, PREDICTABLE)
    figures = {
        "bits_per_byte": surprise(batch),
        "expected": scores.expected_N,
        "deviation": scores.deviation_N,
        "p_value": scores.two_sided_N,
        "odd": odd_N,
    }
    columns = {name: pl.Series(values_N) for name, values_N in figures.items()}
    beginning = pl.col("text").str.slice(0, 160)
    rows = batch.select(
        "review_id",
        "stars",
        "bytes",
        **columns,
        text=beginning,
    )
    return rows.sort(pl.col("deviation").abs(), "review_id", descending=[True, False]).head(count)


def odd_counts(
    reference: pl.DataFrame,
    batch: pl.DataFrame,
    level: float,
) -> dict[str, float]:
    """Return how many reviews of a batch are odd in each way, and the number expected if all were of the same source.

    Args:
        known, batch: See `compare`.
        level: Chance of a false alarm for each review and each way of being odd.
    """
    scores = compare(reference, batch)
    surprising = int((scores.above_N <= level).sum())
    predictable = int((scores.below_N <= level).sum())
    return {
        "surprising": surprising,
        "predictable": predictable,
        "by_chance": level * batch.height,
        "reviews": batch.height,
    }
