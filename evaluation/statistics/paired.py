"""Compare two models on the same reviews: figures with the interval of their difference, slices, samples.

The difference is paired (`evaluation/statistics/intervals.py`): both models find the same reviews hard, and this
cancels out. Only figures that can compare the two models are shown; the notes say why others are missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from core.output import literal, quoted
from evaluation.scoring.metrics import Figures
from evaluation.statistics.comparison import METRICS
from evaluation.statistics.intervals import ComparedScores
from evaluation.statistics.slice_table import SliceOptions, review_slices
from evaluation.statistics.slices import dimension_name
from models.base import STATIC

A, B = "A", "B"
BETTER = {A: "A is better", B: "B is better"}
UNDECIDED, UNKNOWN = "no difference shown", "not known"
DIGITS = 6


@dataclass(frozen=True)
class ComparedModel:
    """One of two models that are compared.

    Args:
        name: Name that the user asked for, e.g. "champion (version 3)".
        kind: Kind of the model.
        bundle: Digest of its bundle.
        other_data: Whether it was trained on other data than the data that the test reviews were held out of.
        scores: `evaluation.scoring.score.score_stream` of the test reviews.
        figures: Figures added up from the scores.
        samples: Columns stars, number, text and seed.
        cost: Figures of its cost, by name.
        entries: Size of its vocabulary.
    """

    name: str
    kind: str
    bundle: str
    other_data: bool
    scores: pl.DataFrame = field(repr=False)
    figures: Figures
    samples: pl.DataFrame = field(repr=False)
    cost: Mapping[str, float | None] = field(default_factory=dict)
    entries: int = 0


@dataclass(frozen=True)
class Pair:
    """Result of the comparison.

    Args:
        a: Name of the first model.
        b: Name of the second model.
        reviews: Number of test reviews that both were scored on.
        groups: Number of groups that the intervals were drawn from; the number of reviews if each is a separate group.
        figures: figure, A, B, difference (B − A) with lo and hi, gain (1 − B / A) with gain_lo and gain_hi, verdict.
        slices: dimension, slice, reviews, A and B (open bits per byte), gain of B with gain_lo and gain_hi, verdict.
        samples: stars, number, A, B (texts written from the same seed).
        costs: cost, A, B.
        notes: Remarks to show with the tables.
        confidence: Confidence of the intervals.
    """

    a: str
    b: str
    reviews: int
    groups: int
    figures: pl.DataFrame
    slices: pl.DataFrame
    samples: pl.DataFrame
    costs: pl.DataFrame
    notes: tuple[str, ...]
    confidence: float

    def tables(self) -> dict[str, pl.DataFrame]:
        """Return the tables by name."""
        return {"figures": self.figures, "slices": self.slices, "samples": self.samples, "costs": self.costs}

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain values."""
        tables = {name: table.to_dicts() for name, table in self.tables().items()}
        return {"a": self.a, "b": self.b, "reviews": self.reviews, "groups": self.groups, "notes": list(self.notes),
                "confidence": self.confidence, **tables}  # fmt: skip

    def to_markdown(self) -> str:
        """Return a Markdown document with all tables."""
        drawn = "reviews" if self.groups == self.reviews else f"{self.groups:,} groups of reviews"
        parts = [
            f"# {literal(self.a)} (A) and {literal(self.b)} (B)",
            f"Both were scored on the same {self.reviews:,} test reviews. lo and hi are the ends of the paired "
            f"{self.confidence:.0%} bootstrap interval over {drawn} of the column before them. Lower is better; a "
            "difference below 0, and a gain above 0, means that B is better.",
            *(f"- {literal(note)}" for note in self.notes),
        ]
        titles = {"figures": "Figures", "costs": "Cost", "slices": "Slices, in open bits per byte"}
        named = [dimension_name(*row) for row in self.slices.select("dimension", "slice").iter_rows()]
        tables = {**self.tables(), "slices": self.slices.with_columns(pl.Series("dimension", named, pl.String))}
        for name, title in titles.items():
            parts += [f"## {title}", _markdown_table(tables[name])]
        parts += ["## Samples of the same seed"]
        for row in self.samples.iter_rows(named=True):
            parts += [f"### {row['stars']} stars, {row['number'] + 1}", *_quoted(A, row[A]), *_quoted(B, row[B])]
        return "\n\n".join(parts) + "\n"


def compare_pair(a: ComparedModel, b: ComparedModel, documents: pl.DataFrame | None, options: SliceOptions) -> Pair:
    """Compare two models.

    Args:
        a: The model that is compared with.
        b: The other model.
        documents: Further facts about the reviews, if any: review_id, date, categories and group.
        options: Options of the slices and intervals; the baseline must be `A`.

    Raises:
        ReviewLMError: They were scored on different reviews, or on none.
    """
    scores, figures = {A: a.scores, B: b.scores}, {A: a.figures, B: b.figures}
    compared = ComparedScores(
        scores, figures, confidence=options.confidence, resamples=options.resamples, seed=options.seed,
        documents=documents,
    )  # fmt: skip
    return Pair(
        a.name, b.name, a.figures.reviews, compared.boot.groups, _figures(a, b, compared),
        _slices(review_slices(scores, documents, options).table), _samples(a.samples, b.samples),
        _costs(a.cost, b.cost), tuple(_notes(a, b)), options.confidence,
    )


def _figures(a: ComparedModel, b: ComparedModel, compared: ComparedScores) -> pl.DataFrame:
    differences = compared.difference_table(A)
    rows = [
        {
            "figure": METRICS[row["figure"]].label, A: _value(row["figure"], a), B: _value(row["figure"], b),
            "difference": row["difference"], "lo": row["difference_lo"], "hi": row["difference_hi"],
            "gain": row["gain"], "gain_lo": row["gain_lo"], "gain_hi": row["gain_hi"],
            "verdict": verdict(row["gain_lo"], row["gain_hi"]),
        }
        for row in differences.iter_rows(named=True)
    ]
    numbers = dict.fromkeys((A, B, "difference", "lo", "hi", "gain", "gain_lo", "gain_hi"), pl.Float64())
    return pl.DataFrame(rows, {"figure": pl.String(), **numbers, "verdict": pl.String()})


def _value(figure: str, side: ComparedModel) -> float:
    return float(METRICS[figure].value(side.figures))


def verdict(gain_lo: float | None, gain_hi: float | None) -> str:
    """Return the verdict of the interval of B's gain over A; the gain of an infinite figure has no interval."""
    if gain_lo is None or gain_hi is None:
        return UNKNOWN
    return BETTER[B] if gain_lo > 0 else BETTER[A] if gain_hi < 0 else UNDECIDED


def _slices(table: pl.DataFrame) -> pl.DataFrame:
    """Return one row per slice, in the order of the table."""
    keys, figure = ("dimension", "slice"), pl.col("open_bits_per_byte")
    a = table.filter(pl.col("model") == A).select(*keys, "reviews", figure.alias(A))
    b = table.filter(pl.col("model") == B).select(*keys, figure.alias(B), "gain", "gain_lo", "gain_hi")
    joined = a.join(b, on=keys, how="inner", maintain_order="left")
    verdicts = [verdict(*ends) for ends in joined.select("gain_lo", "gain_hi").iter_rows()]
    return joined.with_columns(pl.Series("verdict", verdicts, pl.String()))


def _samples(a: pl.DataFrame, b: pl.DataFrame) -> pl.DataFrame:
    keys = ("stars", "number")
    return a.select(*keys, pl.col("text").alias(A)).join(
        b.select(*keys, pl.col("text").alias(B)), on=keys, how="inner", maintain_order="left"
    )


def _costs(a: Mapping[str, float | None], b: Mapping[str, float | None]) -> pl.DataFrame:
    rows = [{"cost": name, A: a.get(name), B: b.get(name)} for name in dict.fromkeys([*a, *b])]
    return pl.DataFrame(rows, {"cost": pl.String(), A: pl.Float64(), B: pl.Float64()})


def _notes(a: ComparedModel, b: ComparedModel) -> list[str]:
    """Return facts that the tables do not show."""
    notes = []
    if a.bundle == b.bundle:
        notes.append("Both names mean the same model.")
    if a.figures.boundary != b.figures.boundary:
        notes.append(
            "The models place different tokens at the ends of a review "
            f"({a.figures.boundary!r} and {b.figures.boundary!r}): no figure compares them."
        )
    elif a.figures.vocabulary != b.figures.vocabulary:
        left_out = ", ".join(metric.label for metric in METRICS.values() if not metric.any_vocabulary)
        notes.append(
            f"They have different vocabularies ({_vocabularies(a, b)}): {left_out} are left out, since a "
            "smaller vocabulary turns more words into <unk>, or cuts the text into more tokens. Open figures include "
            "the spelling of unknown words, case and spaces, so they compare."
        )
    for side, letter in ((a, A), (b, B)):
        if side.other_data:
            notes.append(
                f"{letter} was trained on other data, which may include these test reviews."
            )
        if side.figures.adaptation != STATIC:
            notes.append(
                f"{letter} adapts to the text it is measured on ({side.figures.adaptation}): not a static figure."
            )
        if side.figures.impossible:
            notes.append(
                f"{letter} calls {side.figures.impossible} of {side.figures.reviews} reviews impossible (probability "
                "0): its figures are infinite, and a difference has no interval."
            )
    return notes


def _vocabularies(a: ComparedModel, b: ComparedModel) -> str:
    """Return how two vocabularies differ: by their sizes, and by their units if these differ."""
    units = [f" of unit {side.figures.unit}" * (a.figures.unit != b.figures.unit) for side in (a, b)]
    if a.entries == b.entries and not any(units):
        return f"{a.entries:,} entries each, but not the same ones"
    return f"A: {a.entries:,} entries{units[0]}, B: {b.entries:,} entries{units[1]}"


def _markdown_table(table: pl.DataFrame) -> str:
    if not len(table):
        return "(none)"
    lines = [table.columns, ["---"] * table.width, *([_cell(value) for value in row] for row in table.iter_rows())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() else f"{value:.{DIGITS}g}"
    return literal(str(value))


def _quoted(letter: str, text: str) -> list[str]:
    return [f"**{letter}**", quoted(text)]
