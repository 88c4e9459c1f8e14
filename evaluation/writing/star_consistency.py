"""Check that samples match their star ratings, with a classifier trained on real reviews only.

It is a naive Bayes classifier over the words and pairs of words that a review contains (multinomial, on their presence:
Wang and Manning 2012, "Baselines and bigrams", section 2.1). It is trained on real training reviews, 1 and 2 stars
(negative) against 4 and 5 stars (positive), and uses no language model. Both polarities have equal weight, in training
and in every figure: even if most reviews are positive, a model that ignores its stars and always writes positive
reviews gets 50 %, not more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np
import polars as pl

from evaluation.writing.word_stream import pieces_of

REVIEWS = 20_000
"""Maximum number of training reviews; more do not make the classifier noticeably better."""
LEAST_REVIEWS = 2
"""Minimum number of reviews that contain a feature."""
NEGATIVE, POSITIVE = (1, 2), (4, 5)
Z = 1.959964
"""Quantile of the normal distribution for a 95 % interval."""


@dataclass(frozen=True)
class Polarity:
    """The classifier: a weight for each word and pair of words.

    Args:
        weights: Columns feature, weight: log of the ratio of its shares in positive and in negative reviews.
    """

    weights: pl.DataFrame

    @classmethod
    def train(cls, batches: Iterable[pl.DataFrame], reviews: int = REVIEWS) -> Polarity | None:
        """Learn from reviews with the columns text and stars; None if one polarity is missing (stars unknown)."""
        counts, seen = [], np.zeros(2, np.int64)
        for batch in batches:
            polar = batch.select("text", kind=_positive(pl.col("stars"))).drop_nulls("kind")
            polar = polar.head(reviews - int(seen.sum()))
            seen += np.bincount(polar["kind"].cast(pl.Int8).to_numpy(), minlength=2)
            features = _features(polar["text"])
            positive = polar["kind"].gather(features["text"]).cast(pl.Int64)
            features = features.with_columns(positive=positive, negative=1 - positive)
            counts.append(features.group_by("feature").agg(pl.col("positive", "negative").sum()))
            if seen.sum() >= reviews:
                break
        if not seen.all():
            return None
        table = pl.concat(counts).group_by("feature").agg(pl.col("positive", "negative").sum()).sort("feature")
        table = table.filter(pl.col("positive") + pl.col("negative") >= LEAST_REVIEWS)
        # Scale both polarities to the same number of reviews; otherwise add-one would favour the larger one.
        scaled = {name: pl.col(name) * (seen.min() / seen[i]) for i, name in enumerate(("negative", "positive"))}
        table = table.with_columns(**scaled)
        shares = [(pl.col(name) + 1) / (pl.col(name).sum() + pl.len()) for name in ("positive", "negative")]
        return cls(table.select("feature", weight=(shares[0] / shares[1]).log()))

    def log_odds(self, texts: pl.Series) -> np.ndarray:
        """Return the log odds (D,) that each text is positive: above 0 it is, at 0 nothing is known."""
        found = _features(texts).join(self.weights, on="feature")
        return np.bincount(found["text"].to_numpy(), found["weight"].to_numpy(), minlength=len(texts))

    def save(self, file: Path) -> None:
        """Write the weights as Parquet."""
        self.weights.write_parquet(file)

    @classmethod
    def load(cls, file: Path) -> Polarity:
        """Read the weights that `save` wrote."""
        return cls(pl.read_parquet(file))


@dataclass(frozen=True)
class Agreement:
    """How often the classifier finds the polarity of the stars.

    Args:
        share: Mean of the two polarities' shares.
        low: Lower end of its 95 % interval.
        high: Upper end.
        negative: Share of the texts of 1 and 2 stars that are classified as negative.
        positive: Share of the texts of 4 and 5 stars that are classified as positive.
        texts: Number of these texts.
    """

    share: float
    low: float
    high: float
    negative: float
    positive: float
    texts: int


def agreement(stars: pl.Series, log_odds_D: np.ndarray) -> Agreement | None:
    """Return how often the classifier agrees with the stars; None if there are no texts of one polarity.

    The interval of the mean of two shares is that of Zou and Donner 2008, from the Wilson intervals of each. A text
    without any known feature counts as disagreement.
    """
    sides = [(NEGATIVE, log_odds_D < 0), (POSITIVE, log_odds_D > 0)]
    shares, ends, texts = [], [], 0
    for ratings, agrees_D in sides:
        chosen_D = stars.is_in(list(ratings)).to_numpy()
        if not chosen_D.any():
            return None
        count, hits = int(chosen_D.sum()), int(agrees_D[chosen_D].sum())
        shares.append(hits / count)
        ends.append(wilson(hits, count))
        texts += count
    below = sqrt(sum((share - low) ** 2 for share, (low, _) in zip(shares, ends, strict=True))) / 2
    above = sqrt(sum((high - share) ** 2 for share, (_, high) in zip(shares, ends, strict=True))) / 2
    mean = sum(shares) / 2
    return Agreement(mean, mean - below, mean + above, shares[0], shares[1], texts)


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927)."""
    share = hits / count
    centre, width = share + Z**2 / (2 * count), Z * sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return (centre - width) / (1 + Z**2 / count), (centre + width) / (1 + Z**2 / count)


def _positive(stars: pl.Expr) -> pl.Expr:
    """Return True for positive ratings, False for negative ones, null for the others."""
    return pl.when(stars.is_in(list(POSITIVE))).then(True).when(stars.is_in(list(NEGATIVE))).then(False)


def _features(texts: pl.Series) -> pl.DataFrame:
    """Return one row for each word and pair of words of a text, each once: text (its number), feature."""
    numbered = pl.DataFrame({"text": pl.int_range(len(texts), dtype=pl.UInt32, eager=True), "word": pieces_of(texts)})
    words = numbered.explode("word").drop_nulls()
    follows = pl.col("text").shift(-1) == pl.col("text")
    pairs = words.with_columns(word=pl.concat_str("word", pl.col("word").shift(-1), separator=" ")).filter(follows)
    return pl.concat([words, pairs]).rename({"word": "feature"}).unique(["text", "feature"])
