"""Count words exactly, in bounded memory, for OOV by vocabulary size, Zipf's and Heaps' laws, and contrasting words.

Words are the pieces of the word unit (`models/tokens/words.py`: words, numbers, punctuation, line breaks), case folded.
So the out-of-vocabulary shares are those of a word vocabulary of the same size.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import polars as pl

from corpus.profiling.sketches import Tally, TypeSample, name_hashes
from models.tokens.chunks import Chunks
from models.tokens.type_counts import TypeCounts
from models.tokens.words import cut, folded

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
    types, threshold = 0, 1.0
    for number, tokens in enumerate(ends):
        types += firsts.get(number, 0)
        if tokens >= threshold or number == len(ends) - 1:
            points.append((tokens, types))
            threshold = tokens * 10 ** (1 / PER_DECADE)
    return points


def out_of_vocabulary(
    top: pl.DataFrame, tokens: Mapping[str, int], in_train: Mapping[str, int], types: int
) -> dict[str, list[tuple[int, float]]]:
    """Return the share of each side's tokens that are not among the n most frequent words of train, for several n.

    Args:
        top: The most frequent words of train, in order, with a column of counts for each other side.
        tokens: Number of tokens of each other side; a side without tokens has no curve.
        in_train: Tokens of each other side that occur in train.
        types: Different words of train, used as the last size.
    """
    sizes = [size for size in OOV_SIZES if size < types]
    curves: dict[str, list[tuple[int, float]]] = {}
    for side, total in tokens.items():
        if total:
            covered = top[side].cum_sum().to_list()
            curves[side] = [(size, 1 - covered[size - 1] / total) for size in sizes]
            curves[side].append((types, 1 - in_train[side] / total))
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


ENDS = {"one_star": 1, "five_stars": 5}
"""Columns and ratings of the two ends of the rating scale."""
LISTED = 10_000
"""Number of most frequent words listed for each side."""


class _Occurrences(TypeCounts):
    """The sums of counts, with the lowest batch number of each word in the column `first`.

    The sums have 32 bits, which halves the memory: enough for words that occur 4 billion times.
    """

    def _summed(self, tables: list[pl.DataFrame]) -> pl.DataFrame:
        return pl.concat(tables).group_by(self._key).agg(pl.col(*self._sums).sum(), pl.col("first").min())


class WordCounts:
    """A counter of words, batch by batch, within a `with` block.

    Args:
        sides: Names of the groups counted separately, e.g. "train", "validation", "test". Vocabularies use the first.
        work: Folder for temporary files; None: the system's folder.
    """

    def __init__(self, sides: Sequence[str], work: Path | None = None) -> None:
        self._sides, self._columns = tuple(sides), (*sides, *ENDS)
        self._table = _Occurrences("word", self._columns, work)
        self._ends: list[int] = []
        self.tokens: Counter[str] = Counter()

    def __enter__(self) -> WordCounts:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._table.__exit__(kind, error, at)

    def add(self, counts: pl.DataFrame) -> None:
        """Add the counts of the next batch; each call adds a point to the curve of types over tokens."""
        self.tokens.update(counts.select(pl.col(*self._columns).sum()).to_dicts()[0])
        self._ends.append(sum(self.tokens[name] for name in self._sides))
        self._table.add(counts.with_columns(first=pl.lit(len(self._ends) - 1, pl.Int32)))

    def count(self, texts: Chunks, side: str, stars: pl.Series) -> pl.DataFrame:
        """Return the counts of each word of reviews of one side, for `add`; it changes nothing, so threads may call it.

        Reviews of one and five stars are counted separately only in the first side.
        """
        counts = dict.fromkeys(self._columns, np.zeros(len(texts.distinct), np.uint32)) | {side: texts.counts()}
        if side == self._sides[0]:
            stars_N = texts.per_chunk(stars.to_numpy())
            counts |= {name: texts.counts(stars_N == star) for name, star in ENDS.items()}
        words = pl.DataFrame({"word": cut(folded(texts.distinct, True)), **counts}).explode("word").drop_nulls("word")
        sums = pl.col(*self._columns).cast(pl.UInt32).sum()
        return words.group_by("word").agg(sums)

    def finish(self) -> tuple[WordStatistics, dict[str, Tally], dict[str, TypeSample]]:
        """Return the statistics of all words, and for each side its most frequent words and its types."""
        findings = _Findings(self._sides, self.tokens)
        for table in self._table.parts():
            findings.add(table)
        return findings.statistics(self._ends), findings.most_frequent(), findings.samples


class _Findings:
    """The results collected from the tables of counts, one table at a time."""

    def __init__(self, sides: Sequence[str], tokens: Mapping[str, int]) -> None:
        self._sides, self._tokens = sides, tokens
        self._types, self._hapaxes, self._known = Counter[str](), Counter[str](), Counter[str]()
        self._spectrum, self._firsts = Counter[int](), Counter[int]()
        self._tops: dict[str, pl.DataFrame] = {}
        self._contrast = pl.DataFrame()
        self.samples = {name: TypeSample() for name in sides}

    def add(self, table: pl.DataFrame) -> None:
        """Add one table of `TypeCounts.parts`."""
        words = table.drop("first").with_columns(pl.col(*self._sides, *ENDS).cast(pl.Int64))
        hashes = name_hashes(table["word"].to_list())
        for name in self._sides:
            self._count(name, words[name])
            counts = words[name].to_numpy()
            self.samples[name].add_hashes(hashes[counts > 0], counts[counts > 0])
            seen = words.filter(pl.col(name) > 0)
            # Ties are sorted alphabetically, as in the word vocabulary.
            best = pl.concat([self._tops.get(name, seen.clear()), seen]).sort(name, "word", descending=[True, False])
            self._tops[name] = best.head(max(OOV_SIZES))
        total = words.select(pl.sum_horizontal(self._sides).alias("all")).to_series()
        self._count("all", total)
        self._spectrum.update(dict(total.value_counts().iter_rows()))
        self._firsts.update(dict(table["first"].value_counts().iter_rows()))
        base = self._sides[0]
        self._known.update(words.filter(pl.col(base) > 0).select(pl.col(*self._sides).sum()).to_dicts()[0])
        rated = words.select("word", *ENDS, prior=pl.col(base))
        sizes = [self._tokens[name] for name in (*ENDS, base)]
        candidates = [self._contrast.select(rated.columns), rated] if self._contrast.width else [rated]
        self._contrast = contrast(pl.concat(candidates), *sizes)

    def _count(self, name: str, counts: pl.Series) -> None:
        self._types[name] += int((counts > 0).sum())
        self._hapaxes[name] += int((counts == 1).sum())

    def statistics(self, ends: list[int]) -> WordStatistics:
        """Return the statistics, given the number of tokens at the end of each call of `WordCounts.add`."""
        tokens = {name: self._tokens[name] for name in self._sides}
        base, *others = self._sides
        rest = {name: tokens[name] for name in others}
        return WordStatistics(
            tokens=tokens,
            types=dict(self._types),
            hapaxes=dict(self._hapaxes),
            oov=out_of_vocabulary(self._tops[base], rest, self._known, self._types[base]),
            zipf=zipf_points(self._spectrum),
            heaps=heaps_points(ends, self._firsts),
            contrast=list(self._contrast.select("word", "z", *ENDS).iter_rows()),
        )

    def most_frequent(self) -> dict[str, Tally]:
        """Return the `LISTED` most frequent words of each side."""
        tallies = {}
        for name, top in self._tops.items():
            listed = dict(top.select("word", name).head(LISTED + 1).iter_rows())
            tallies[name] = Tally(LISTED, listed, self._tokens[name]).shortened()
        return tallies
