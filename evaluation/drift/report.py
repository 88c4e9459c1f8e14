"""Test whether new reviews have drifted from the reviews that a model was trained on; each figure has a p-value.

A figure compares two samples of reviews. Any two samples differ, so each figure is compared with its values when both
samples come from one source: reviews change sides at random (a permutation test, Fisher 1935; Good 2005, chapter 3).
Whole reviews change sides, not words, because the words of one review belong together. The test is exact: of batches
from the same source at most the share `false_alarm` is flagged, over all figures together (Bonferroni). The limits
ignore differences that are significant but too small to matter.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from core.config.sections.data import DriftConfig
from core.errors import EmptyInput
from core.output import literal
from evaluation.drift.features import Judged, of_scores, of_texts

PERMUTATIONS = 1_000
"""Fewest permutations for the p-values: more change which figures are flagged hardly ever."""
FEWEST = 50
"""Minimum number of reviews in each sample."""


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

    def to_markdown(self) -> str:
        """Return the table of figures."""
        rows = [
            f"| {figure.name} | {figure.value:.4f} | {figure.expected:.4f} | {figure.limit:g} | {figure.p_value:.4f} "
            f"| {'**drifted**' if figure.flagged else 'same'} | {literal(figure.detail)} |"
            for figure in self.figures
        ]
        samples = f"{self.reviews:,} new reviews compared with {self.reference_reviews:,} that the champion knows."
        columns = "| figure | value | by chance | limit of the excess | p | verdict | what |"
        return "\n".join([samples, "", columns, "|---|---|---|---|---|---|---|", *rows])


def compare(
    reference: pl.DataFrame, held_out: pl.DataFrame, batch: pl.DataFrame, config: DriftConfig, seed: int = 1
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
        if sample.height < FEWEST:
            raise EmptyInput(
                f"There are too few {name} reviews to measure drift", value=f"{sample.height} reviews",
                remedy=f"at least {FEWEST} are needed",
            )
    texts, scores = of_texts(reference, batch, config), of_scores(held_out, batch, config)
    level = config.false_alarm / (len(texts.measures) + len(scores.measures))
    resamples = max(PERMUTATIONS, math.ceil(2 / level))
    judged = [*texts.judge(resamples, seed), *scores.judge(resamples, seed + 1)]
    return DriftReport(
        tuple(_figure(one, level) for one in judged), batch.height, reference.height, config.false_alarm,
        texts.histograms(), texts.moved(),
    )


def _figure(judged: Judged, level: float) -> Figure:
    measure, excess = judged.measure, judged.value - judged.expected
    flagged = judged.p_value <= level and excess > measure.limit
    return Figure(
        measure.name, judged.value, judged.expected, measure.limit, judged.p_value, flagged, measure.detail
    )


def flagged_sentence(report: DriftReport) -> str:
    """Return a sentence about the flagged figures, for logs and events."""
    if not report.drifted:
        return f"no drift: {report.reviews:,} new reviews look like those the champion knows"
    parts = [f"{f.name} {f.value:.4f} (by chance {f.expected:.4f})" for f in report.figures if f.name in report.drifted]
    return "the new reviews have drifted: " + ", ".join(parts)
