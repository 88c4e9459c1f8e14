"""Test whether new reviews have drifted from the reviews that a model was trained on; each figure has a p-value.

A figure compares two samples of reviews. Any two samples differ, so each figure is compared with its values when both
samples come from one source: reviews change sides at random (a permutation test, Fisher 1935; Good 2005, chapter 3).
Whole reviews change sides, not words, because the words of one review belong together. The test is exact: of batches
from the same source at most the share `false_alarm` is flagged, over all figures together (Bonferroni). The limits
ignore differences that are significant but too small to matter.

Both samples are pooled in one matrix, and each permutation deals its rows to two sides.

A figure of either side is a function of sums of rows, so it can be computed for any assignment of rows to sides.

Distances between two distributions are those of their counts, row by row; the last axis is the classes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from reviewlm.core.config.sections.data import DriftConfig
from reviewlm.core.errors import EmptyInput

WORDS = 2_000
"""The most frequent words of both samples are compared one by one, all others as one class."""

LENGTHS = (0, 10, 20, 30, 45, 60, 80, 100, 125, 150, 200, 250, 300, 400, 550, 750, 1_000)
"""Lower edges of the classes of review length, in words."""

CATEGORIES = 100
AT_ONCE = 64

HALF = 0.5
"""Added to each class before a logarithm is taken (Jeffreys), so that an empty class gives no infinite figure."""
PERMUTATIONS = 1_000
"""Fewest permutations for the p-values: more change which figures are flagged hardly ever."""
FEWEST_REVIEWS = 50
"""Minimum number of reviews in each sample."""


@dataclass(frozen=True)
class DriftFigure:
    """A figure as a function of the sums of some columns over each side."""

    name: str
    columns: slice
    function: Callable[[np.ndarray, np.ndarray], np.ndarray]
    limit: float
    detail: str


@dataclass(frozen=True)
class Figure:
    """One comparison.

    Args:
        name: "stars", "length", "words", "categories", "coverage" or "surprisal".
        value: The measured value.
        expected: Mean of the same figure between samples of one source, of these sizes.
        limit: Limit of value − expected.
        p_value: Share of same-source samples with at least this value (the measured one is counted too).
        flagged: Whether the figure is above the limit and significant.
        detail: Description in words.
    """

    name: str
    value: float
    expected: float
    limit: float
    p_value: float
    flagged: bool
    detail: str

    @property
    def excess(self) -> float:
        """Difference between the value and its expected value by chance."""
        return self.value - self.expected


@dataclass(frozen=True)
class Pool:
    """Two samples in one matrix: features_NF per review, and which rows are new."""

    features_NF: np.ndarray
    new_N: np.ndarray
    measures: tuple[DriftFigure, ...]
    labels: dict[str, list[str]]

    def judge(
        self,
        resamples: int,
        seed: int,
        level: float,
    ) -> list[Figure]:
        """Compare every figure with its values under random permutations of the sides; *level* flags its p-value."""
        total_F = self.features_NF.sum(axis=0, dtype=np.float64)
        observed = self._values(self.new_N[None, :].astype(np.float32), total_F)
        generator = np.random.default_rng(seed)
        parts = []
        for start in range(0, resamples, AT_ONCE):
            sides_RN = np.tile(self.new_N, (min(AT_ONCE, resamples - start), 1))
            parts.append(
                self._values(generator.permuted(sides_RN, axis=1).astype(np.float32), total_F)
            )

        verdicts = []
        for measure in self.measures:
            value = float(observed[measure.name][0])
            null_R = np.concatenate([part[measure.name] for part in parts])
            p_value = float((1 + np.count_nonzero(null_R >= value)) / (1 + len(null_R)))
            expected = float(null_R.mean())
            flagged = p_value <= level and value - expected > measure.limit
            verdicts.append(
                Figure(
                    measure.name,
                    value,
                    expected,
                    measure.limit,
                    p_value,
                    flagged,
                    measure.detail,
                )
            )

        return verdicts

    def _values(self, new_RN: np.ndarray, total_F: np.ndarray) -> dict[str, np.ndarray]:
        new_RF = (new_RN @ self.features_NF).astype(np.float64)
        old_RF = total_F - new_RF
        return {
            m.name: m.function(old_RF[:, m.columns], new_RF[:, m.columns]) for m in self.measures
        }

    def histograms(self) -> dict[str, dict[str, list[Any]]]:
        """Return the shares of both sides for the figures with few classes."""
        counts = {}
        for measure in self.measures:
            if measure.name in ("stars", "length", "categories"):
                known_C, new_C = (shares(sums_C) for sums_C in self._sums(measure))
                labels = self.labels[measure.name]
                counts[measure.name] = {
                    "labels": labels,
                    "known": known_C.tolist(),
                    "new": new_C.tolist(),
                }

        return counts

    def _sums(self, measure: DriftFigure) -> tuple[np.ndarray, np.ndarray]:
        known_C = self.features_NF[~self.new_N, measure.columns].sum(0)
        new_C = self.features_NF[self.new_N, measure.columns].sum(0)
        return known_C, new_C

    def moved_words(self, count: int = 20) -> list[dict[str, float | str]]:
        """Return the words that contribute most to the divergence, with their shares per thousand on both sides."""
        measure = next(measure for measure in self.measures if measure.name == "words")
        p_K, q_K = (shares(sums_K) for sums_K in self._sums(measure))
        order = np.argsort(-jensen_shannon_terms(p_K, q_K), kind="stable")[:count]
        words = self.labels["words"]
        table: list[dict[str, float | str]] = []
        for index in order:
            known = 1000 * float(p_K[index])
            new = 1000 * float(q_K[index])
            table.append(
                {
                    "word": words[index],
                    "known": known,
                    "new": new,
                }
            )

        return table


def of_texts(
    reference: pl.DataFrame,
    batch: pl.DataFrame,
    config: DriftConfig,
) -> Pool:
    """Pool the samples for the figures of words, lengths, stars and categories."""
    new_N = np.r_[np.zeros(reference.height, bool), np.ones(batch.height, bool)]
    both = [pl.concat([reference[name], batch[name]]) for name in ("stars", "words", "text")]
    stars_N = both[0].to_numpy().astype(np.int64)
    length_N = np.searchsorted(LENGTHS, both[1].to_numpy(), side="right") - 1
    words, counts_NK = _word_counts(both[2])
    one_hot_stars = np.eye(6, dtype=np.float32)[stars_N]
    one_hot_lengths = np.eye(len(LENGTHS), dtype=np.float32)[length_N]
    blocks = [one_hot_stars, one_hot_lengths, counts_NK]
    labels = {
        "stars": ["unknown", "1", "2", "3", "4", "5"],
        "length": [str(edge) for edge in LENGTHS],
        "words": words,
    }
    measures = [
        (
            "stars",
            population_stability,
            config.psi,
            "population stability index of the star ratings",
        ),
        (
            "length",
            population_stability,
            config.psi,
            "population stability index of the lengths in words",
        ),
        (
            "words",
            jensen_shannon,
            config.js_words,
            "Jensen-Shannon divergence of single words, in bits",
        ),
    ]
    if (
        "categories" in reference.columns
        and "categories" in batch.columns
        and reference["categories"].count()
    ):
        names, flags_NC = _categories(pl.concat([reference["categories"], batch["categories"]]))
        if len(names) > 1:
            blocks.append(flags_NC)
            labels["categories"] = names
            what = "Jensen-Shannon divergence of the businesses' categories, in bits"
            measures.append(("categories", jensen_shannon, config.js_categories, what))

    figures = []
    start = 0
    for block, (name, function, limit, detail) in zip(blocks, measures, strict=True):
        figures.append(
            DriftFigure(
                name,
                slice(start, start + block.shape[1]),
                function,
                limit,
                detail,
            )
        )
        start += block.shape[1]

    return Pool(np.concatenate(blocks, axis=1), new_N, tuple(figures), labels)


def of_scores(
    held_out: pl.DataFrame,
    batch: pl.DataFrame,
    config: DriftConfig,
) -> Pool:
    """Pool the samples for the figures that need the champion's scores."""
    columns = [
        "oov",
        "tokens",
        pl.col("nats") + pl.col("spelling_nats"),
        "bytes",
    ]  # unknown words spelt out
    both = pl.concat(
        [held_out.select(columns).cast(pl.Float64), batch.select(columns).cast(pl.Float64)]
    )
    new_N = np.r_[np.zeros(held_out.height, bool), np.ones(batch.height, bool)]

    def lost(old_R2: np.ndarray, new_R2: np.ndarray) -> np.ndarray:
        return new_R2[:, 0] / new_R2[:, 1] - old_R2[:, 0] / old_R2[:, 1]

    def rise(old_R2: np.ndarray, new_R2: np.ndarray) -> np.ndarray:
        old_R = old_R2[:, 0] / old_R2[:, 1]
        new_R = new_R2[:, 0] / new_R2[:, 1]
        return new_R / old_R - 1

    figures = (
        DriftFigure(
            "coverage",
            slice(0, 2),
            lost,
            config.coverage,
            "rise of the share of words that it does not know",
        ),
        DriftFigure(
            "surprisal",
            slice(2, 4),
            rise,
            config.surprisal,
            "relative rise of its open bits per byte",
        ),
    )
    return Pool(both.to_numpy().astype(np.float32), new_N, figures, {})


def _word_counts(texts: pl.Series) -> tuple[list[str], np.ndarray]:
    """Return the most frequent words and counts_NK; its last column counts all other words."""
    frame = pl.DataFrame(
        {"row": np.arange(len(texts), dtype=np.int64), "word": texts.str.to_lowercase()}
    )
    words = (
        frame.with_columns(pl.col("word").str.extract_all(r"[\p{L}\p{N}_']+"))
        .explode("word")
        .drop_nulls()
    )
    counts = words.group_by("row", "word").len()
    totals = (
        counts.group_by("word")
        .agg(pl.col("len").sum())
        .sort(["len", "word"], descending=[True, False])
    )
    names = totals.head(WORDS)["word"].to_list()
    place = pl.DataFrame({"word": names, "column": np.arange(len(names), dtype=np.int64)})
    placed = counts.join(place, on="word", how="left").with_columns(
        pl.col("column").fill_null(len(names))
    )
    placed = placed.group_by("row", "column").agg(pl.col("len").sum())
    counts_NK = np.zeros((len(texts), len(names) + 1), np.float32)
    counts_NK[placed["row"].to_numpy(), placed["column"].to_numpy()] = placed["len"].to_numpy()
    return [*names, "(all other words)"], counts_NK


def _categories(column: pl.Series) -> tuple[list[str], np.ndarray]:
    """Return the most frequent categories and flags_NC.

    A business with several categories counts in each. Other categories, and none, count in the last column.
    """
    lists = column.fill_null("").str.split(", ").to_list()
    common = pl.Series([name for names in lists for name in names if name]).value_counts(
        name="n", sort=True
    )
    names = sorted(common.head(CATEGORIES)[common.columns[0]].to_list())
    place = {name: number for number, name in enumerate(names)}
    flags_NC = np.zeros((len(lists), len(names) + 1), np.float32)
    for row, categories in enumerate(lists):
        for name in categories:
            flags_NC[row, place.get(name, len(names))] = 1

    return [*names, "(none or another)"], flags_NC


def population_stability(old_RC: np.ndarray, new_RC: np.ndarray) -> np.ndarray:
    """Return Σ (q − p) ln(q / p), the population stability index (symmetrised Kullback-Leibler divergence), per row."""
    p_RC = shares(old_RC + HALF)
    q_RC = shares(new_RC + HALF)
    return ((q_RC - p_RC) * np.log(q_RC / p_RC)).sum(axis=-1)


def jensen_shannon(old_RC: np.ndarray, new_RC: np.ndarray) -> np.ndarray:
    """Return the Jensen-Shannon divergence (Lin 1991) of the shares, in bits, per row: 0 for equal, 1 for disjoint."""
    return jensen_shannon_terms(shares(old_RC), shares(new_RC)).sum(axis=-1)


def jensen_shannon_terms(p_C: np.ndarray, q_C: np.ndarray) -> np.ndarray:
    """Return the contribution of each class to the divergence of the shares p and q, in bits."""
    middle = (p_C + q_C) / 2

    def part(x_C: np.ndarray) -> np.ndarray:
        possible_C = x_C > 0
        share_C = np.where(possible_C, x_C, 1)
        middle_C = np.where(middle > 0, middle, 1)
        return np.where(possible_C, x_C * np.log2(share_C / middle_C), 0.0)

    return (part(p_C) + part(q_C)) / 2


def shares(counts_C: np.ndarray) -> np.ndarray:
    """Return the counts divided by their sum; zeros if the sum is 0."""
    return counts_C / np.maximum(counts_C.sum(axis=-1, keepdims=True), 1e-12)


@dataclass(frozen=True)
class DriftReport:
    """The figures, the words that moved, and the sizes of the two samples."""

    figures: tuple[Figure, ...]
    reviews: int
    reference_reviews: int
    false_alarm: float
    histograms: dict[str, dict[str, list[Any]]]
    moved: list[dict[str, float | str]]

    @property
    def drifted(self) -> tuple[str, ...]:
        """Names of the flagged figures."""
        return tuple(figure.name for figure in self.figures if figure.flagged)

    def to_json(self) -> str:
        """Return the report as JSON, `drifted` included."""
        return json.dumps({**asdict(self), "drifted": list(self.drifted)}, indent=2)


def compare(
    reference: pl.DataFrame,
    held_out: pl.DataFrame,
    batch: pl.DataFrame,
    config: DriftConfig,
    seed: int = 1,
) -> DriftReport:
    """Compare a batch of new reviews with the reviews that a model was trained on.

    Args:
        reference: A sample of the model's training reviews: text, stars, words, and categories if there are any.
        held_out: A sample of reviews of the same source that the model was not trained on, scored by it: nats, bytes,
            tokens, oov, spelling_nats. Training reviews would make the model look better than it is.
        batch: A sample of the new reviews, with all these columns.
        config: Limits, the chance of a false alarm.
        seed: Seed of the permutations; equal seeds give equal reports.

    Raises:
        EmptyInput: One of the samples is too small.
    """
    for name, sample in (("new", batch), ("known", reference), ("held-out", held_out)):
        if sample.height < FEWEST_REVIEWS:
            raise EmptyInput(
                f"There are too few {name} reviews to measure drift",
                value=f"{sample.height} reviews",
                remedy=f"at least {FEWEST_REVIEWS} are needed",
            )

    texts = of_texts(reference, batch, config)
    scores = of_scores(held_out, batch, config)
    level = config.false_alarm / (len(texts.measures) + len(scores.measures))
    resamples = max(PERMUTATIONS, math.ceil(2 / level))
    figures = *texts.judge(resamples, seed, level), *scores.judge(resamples, seed + 1, level)
    return DriftReport(
        figures,
        batch.height,
        reference.height,
        config.false_alarm,
        texts.histograms(),
        texts.moved_words(),
    )


def flagged_sentence(report: DriftReport) -> str:
    """Return a sentence about the flagged figures, for logs and events."""
    if not report.drifted:
        return f"no drift: {report.reviews:,} reviews with new texts look like those the champion knows"
    parts = []
    for f in report.figures:
        if f.name in report.drifted:
            parts.append(f"{f.name} {f.value:.4f} (by chance {f.expected:.4f})")

    return "the reviews with new texts have drifted: " + ", ".join(parts)
