"""Compute statistics from exact word counts: OOV by vocabulary size, Zipf's and Heaps' laws, contrasting words."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

OOV_SIZES = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000)
PER_DECADE = 12
"""Points of a curve for each factor of ten."""
ZIPF_RANKS = (10, 1_000)
"""Ranks between which the exponent is fitted.

The first few words follow no power law, and the exponent grows beyond a few thousand (Ferrer i Cancho and Solé 2001).
"""
HEAPS_FROM = 10_000
"""Number of tokens from which K and β are fitted, if there are more than ten times as many."""
PRIOR_TOKENS = 10_000
"""Size of the prior of `contrast`, in tokens."""
CONTRASTS = 20
"""Contrasting words kept for each end of the scale."""
MIN_CONTRAST = 10

Point = tuple[int, int]


@dataclass(frozen=True)
class PowerLaw:
    """The law y ≈ factor · x^exponent, fitted by least squares to log y over log x between *low* and *high*.

    `error` is the root mean square of log10 y − log10 fit: 0.01 is about 2 %.
    """

    factor: float
    exponent: float
    low: int
    high: int
    error: float

    def at(self, x: np.ndarray) -> np.ndarray:
        """Return the fitted values at *x*."""
        return self.factor * x**self.exponent


@dataclass(frozen=True)
class WordStatistics:
    """Statistics from the exact counts of all words.

    Args:
        tokens: Words of each side, including repeats; punctuation and line breaks are words too.
        types: Different words of each side, and of "all".
        hapaxes: Words that occur once.
        oov: {"validation": [(size, share of its tokens that are not among the *size* most frequent words of train)]};
            the last size is all words of train. Without splits, the first side takes the place of train.
        zipf: (rank, count) over all sides.
        heaps: (tokens seen, types seen) in the order of the file.
        contrast: (word, z, count in 1-star reviews of train, count in 5-star ones), starting with the words most
            typical of 1 star (z < 0).
    """

    tokens: dict[str, int]
    types: dict[str, int]
    hapaxes: dict[str, int]
    oov: dict[str, list[tuple[int, float]]]
    zipf: list[Point]
    heaps: list[Point]
    contrast: list[tuple[str, float, int, int]]

    @property
    def zipf_law(self) -> PowerLaw | None:
        """Fit of counts over ranks, with a negative exponent; None if there are too few words."""
        return fit_power_law(self.zipf, *ZIPF_RANKS)

    @property
    def heaps_law(self) -> PowerLaw | None:
        """Fit of types over tokens: K is the factor, β the exponent."""
        enough = bool(self.heaps) and self.heaps[-1][0] > 10 * HEAPS_FROM
        return fit_power_law(self.heaps, HEAPS_FROM if enough else 1)

    def to_json(self) -> str:
        """Return the statistics as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> WordStatistics:
        """Return the statistics that `to_json` wrote."""
        values = json.loads(text)
        oov = {side: _pairs(curve) for side, curve in values.pop("oov").items()}
        contrast = [tuple(row) for row in values.pop("contrast")]
        zipf, heaps = _pairs(values.pop("zipf")), _pairs(values.pop("heaps"))
        return cls(oov=oov, contrast=contrast, zipf=zipf, heaps=heaps, **values)


def _pairs(rows: Iterable[Sequence[Any]]) -> list[Any]:
    return [tuple(row) for row in rows]


def fit_power_law(points: Sequence[Point], low: int, high: int | None = None) -> PowerLaw | None:
    """Fit a power law to the points with low ≤ x ≤ high; return None if there are fewer than three."""
    used = [(x, y) for x, y in points if x >= low and (high is None or x <= high) and y > 0]
    if len(used) < 3:
        return None
    x, y = np.log10(np.array(used, float)).T
    exponent, shift = np.polyfit(x, y, 1)
    error = float(np.sqrt(np.mean((y - shift - exponent * x) ** 2)))
    return PowerLaw(float(10**shift), float(exponent), int(used[0][0]), int(used[-1][0]), error)


def log_spaced(last: int) -> list[int]:
    """Return whole numbers from 1 to *last*, `PER_DECADE` per factor of ten, the ends included."""
    steps = math.floor(math.log10(max(last, 1)) * PER_DECADE)
    return sorted({round(10 ** (step / PER_DECADE)) for step in range(steps + 1)} | {last}) if last else []


def zipf_points(spectrum: Mapping[int, int]) -> list[Point]:
    """Return (rank, count) at log-spaced ranks.

    Args:
        spectrum: Count → number of words that occur that often.
    """
    counts = sorted((count for count in spectrum if count), reverse=True)
    ends = np.cumsum([spectrum[count] for count in counts])
    ranks = log_spaced(int(ends[-1]) if counts else 0)
    return [(rank, counts[index]) for rank, index in zip(ranks, np.searchsorted(ends, ranks), strict=True)]


def heaps_points(ends: Sequence[int], firsts: Mapping[int, int]) -> list[Point]:
    """Return (tokens seen, types seen) at about log-spaced ends of batches.

    Args:
        ends: Tokens seen at the end of each batch.
        firsts: Number of a batch → number of words first seen in it.
    """
    points: list[Point] = []
    types, wanted = 0, 1.0
    for number, tokens in enumerate(ends):
        types += firsts.get(number, 0)
        if tokens >= wanted or number == len(ends) - 1:
            points.append((tokens, types))
            wanted = tokens * 10 ** (1 / PER_DECADE)
    return points


def out_of_vocabulary(
    top: pl.DataFrame, tokens: Mapping[str, int], known: Mapping[str, int], types: int
) -> dict[str, list[tuple[int, float]]]:
    """Return the share of each side's tokens that are not among the n most frequent words of train, for several n.

    Args:
        top: The most frequent words of train, in order, with a column of counts for each other side.
        tokens: Number of tokens of each other side; a side without tokens has no curve.
        known: Tokens of each other side that occur in train.
        types: Different words of train, used as the last size.
    """
    sizes = [size for size in OOV_SIZES if size < types]
    curves: dict[str, list[tuple[int, float]]] = {}
    for side, total in tokens.items():
        if total:
            covered = top[side].cum_sum().to_list()
            curves[side] = [(size, 1 - covered[size - 1] / total) for size in sizes]
            curves[side].append((types, 1 - known[side] / total))
    return curves


def contrast(counts: pl.DataFrame, low: int, high: int, total: int) -> pl.DataFrame:
    """Return the words that distinguish 5-star from 1-star reviews, from most "1 star" to most "5 stars".

    The score is a log-odds ratio with an informative Dirichlet prior (Monroe, Colaresi and Quinn 2008, eq. 16, 20 and
    22). The prior is the word frequencies of the corpus with the weight of `PRIOR_TOKENS` tokens, so a rare word gets
    no large contrast.

    Args:
        counts: word, one_star, five_stars and prior (count in all reviews).
        low: Tokens of all 1-star reviews.
        high: Tokens of all 5-star reviews.
        total: Tokens of all reviews.

    Returns:
        *counts* with z, for at most 2 · `CONTRASTS` words: those with letters and at least `MIN_CONTRAST` occurrences.
    """
    prior = pl.col("prior") * (PRIOR_TOKENS / max(total, 1))

    def log_odds(column: str, size: int) -> pl.Expr:
        smoothed = pl.col(column) + prior
        return smoothed.log() - (size + PRIOR_TOKENS - smoothed).log()

    difference = log_odds("five_stars", high) - log_odds("one_star", low)
    deviation = (1 / (pl.col("five_stars") + prior) + 1 / (pl.col("one_star") + prior)).sqrt()
    scored = (
        counts.filter(pl.col("one_star") + pl.col("five_stars") >= MIN_CONTRAST, pl.col("word").str.contains(r"\p{L}"))
        .with_columns(z=difference / deviation)
        .sort("z", "word")
    )
    ends = pl.concat([scored.filter(pl.col("z") < 0).head(CONTRASTS), scored.filter(pl.col("z") > 0).tail(CONTRASTS)])
    return ends if low and high else ends.clear()
