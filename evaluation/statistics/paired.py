"""Compare two models on the same reviews: figures with the interval of their difference, slices, samples.

The difference is paired (`evaluation/statistics/intervals.py`): both models find the same reviews hard, and this
cancels out. Only figures that can compare the two models are shown; the notes say why others are missing.

A gain is that of the better model over the other, so it is the same whichever of the two is named first. The one in
open bits per byte has the cautious interval of the gate (`evaluation/statistics/gain_interval.py`) and decides.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from reviewlm.core.errors import EmptyInput
from reviewlm.core.figures import BITS
from reviewlm.core.output import literal, quote_text
from reviewlm.evaluation.reports.document import PageTable
from reviewlm.evaluation.scoring.metrics import Figures, figures_of
from reviewlm.evaluation.statistics.bootstrap import Interval
from reviewlm.evaluation.statistics.comparison import ANY_VOCABULARY, METRICS
from reviewlm.evaluation.statistics.gain_interval import cautious_gain, gain_ratio
from reviewlm.evaluation.statistics.groups import groups_of
from reviewlm.evaluation.statistics.intervals import ComparedScores, align_rows
from reviewlm.evaluation.statistics.slice_table import review_slices
from reviewlm.evaluation.statistics.slices import dimension_name
from reviewlm.models.base import STATIC

A = "A"
B = "B"
BETTER = {A: "A is better", B: "B is better"}
UNDECIDED = "may be chance"
UNKNOWN = "not known"
CUT = " … (cut at the longest length)"
TITLES = {
    "figures": "Figures",
    "costs": "Cost (measured once: small differences mean nothing)",
    "slices": "Slices, in open bits per byte",
}


@dataclass(frozen=True)
class ComparedModel:
    """A model of a comparison of two.

    Args:
        name: Name that the user asked for, e.g. "champion (version 3)".
        bundle: Digest of its bundle.
        scores: `reviewlm.evaluation.scoring.score.score_stream` of the test reviews.
        figures: Figures added up from the scores.
        samples: Columns stars, number, text, ended and seed.
        cost: Figures of its cost, by name.
        entries: Size of its vocabulary.
        learnt: Ids of the test reviews that it was fitted or chosen on.
        problems: Sentences about what is not known of its training data.
    """

    name: str
    bundle: str
    scores: pl.DataFrame = field(repr=False)
    figures: Figures
    samples: pl.DataFrame = field(repr=False)
    cost: Mapping[str, float | None] = field(default_factory=dict)
    entries: int = 0
    learnt: Collection[str] = ()
    problems: Sequence[str] = ()


@dataclass(frozen=True)
class Pair:
    """Result of the comparison.

    Args:
        a: Name of the first model.
        b: Name of the second model.
        reviews: Number of test reviews that both were scored on.
        groups: Number of groups that the intervals were drawn from; the number of reviews if each is a separate group.
        figures: figure, A, B, difference (B − A) with lo and hi; better ("A" or "B", which has the lower figure), its
            gain over the other with gain_lo and gain_hi, verdict. The gain in open bits per byte has the gate's
            cautious interval.
        slices: dimension, slice, reviews, A and B (open bits per byte); better, gain, gain_lo, gain_hi, verdict.
        samples: stars, number, A, B (texts written from the same seed; those that were cut end with `CUT`).
        costs: cost, A, B.
        notes: Remarks to show with the tables.
        confidence: Confidence of the intervals.
        gate_confidence: Confidence of the cautious interval.
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
    gate_confidence: float

    def tables(self) -> dict[str, pl.DataFrame]:
        """Return the tables by name."""
        return {
            name: value for name, value in vars(self).items() if isinstance(value, pl.DataFrame)
        }

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain values, and the verdict in a sentence."""
        tables = {name: table.to_dicts() for name, table in self.tables().items()}
        return {
            **asdict(self),
            **tables,
            "verdict": self.verdict,
        }

    @property
    def surely_better(self) -> str:
        """Name of the model that is surely better, by the figure and the interval of the gate; "" for none."""
        for row in self.figures.filter(figure=BITS.words).to_dicts():
            if row["verdict"] not in (UNKNOWN, UNDECIDED):
                return self.a if row["better"] == A else self.b

        return ""

    @property
    def verdict(self) -> str:
        """Which model is surely better, by how much, in a sentence: by the figure and the interval of the gate."""
        rows = self.figures.filter(figure=BITS.words).to_dicts()
        if not rows:
            return "no figure compares these models"

        row = rows[0]
        names = {A: self.a, B: self.b}
        if row["verdict"] == UNKNOWN:
            return "none, because a figure is infinite or there are too few reviews"

        better = names[row["better"]]
        other = names[B if row["better"] == A else A]
        sure = f"cautious {100 * self.gate_confidence:.4g} % interval"
        share = f"by {row['gain']:.2%} of its {BITS.words}"
        if row["verdict"] == UNDECIDED:
            ends = f"{sure}: {row['gain_lo']:+.2%} to {row['gain_hi']:+.2%}"
            return f"{better} is better than {other} {share}, which may be chance ({ends})"

        return (
            f"{better} is better than {other} {share}, at least {row['gain_lo']:.2%} by the {sure}"
        )

    def to_markdown(self) -> str:
        """Return a Markdown document with all tables."""
        drawn = "reviews"
        if self.groups != self.reviews:
            drawn = f"{self.groups:,} groups of reviews"

        about = (
            f"Both were scored on the same {self.reviews:,} test reviews. lo and hi are the ends of the paired "
            f"{self.confidence:.0%} bootstrap interval over {drawn} of the column before them, for {BITS.words} those "
            "of the gate's wider, cautious one. Lower is better; a gain is that of the better model over the other."
        )
        parts = [
            f"# {literal(self.a)} (A) and {literal(self.b)} (B)",
            f"Verdict: {self.verdict}.",
            about,
        ]
        parts += [f"- {literal(note)}" for note in self.notes]
        named = [
            dimension_name(*row) for row in self.slices.select("dimension", "slice").iter_rows()
        ]
        tables = {
            **self.tables(),
            "slices": self.slices.with_columns(pl.Series("dimension", named, pl.String)),
        }
        for name, title in TITLES.items():
            rows = PageTable.of(tables[name].to_dicts())
            parts += [f"## {title}", rows.to_markdown() if rows else "(none)"]

        parts += ["## Samples of the same seed"]
        for row in self.samples.iter_rows(named=True):
            parts += [f"### {row['stars']} stars, {row['number'] + 1}"]
            parts += [
                text for letter in (A, B) for text in (f"**{letter}**", quote_text(row[letter]))
            ]

        return "\n\n".join(parts) + "\n"


def compare_pair(
    a: ComparedModel,
    b: ComparedModel,
    documents: pl.DataFrame | None,
    *,
    min_reviews: int,
    confidence: float,
    resamples: int,
    seed: int,
    gate_confidence: float,
    max_review_loss: float,
) -> Pair:
    """Compare two models on the reviews that neither was fitted or chosen on.

    Args:
        a: The model that is compared with.
        b: The other model.
        documents: Further facts about the reviews, if any: review_id, date, categories and group.
        min_reviews: Minimum number of reviews in a reported slice.
        confidence, resamples, seed: See `Bootstrap`.
        gate_confidence, max_review_loss: Of the gate's cautious interval (`promotion.confidence`).

    Raises:
        ReviewLMError: They were scored on different reviews, or on none.
        EmptyInput: The two have learnt from all of these test reviews.
    """
    notes = _notes(a, b)
    learnt = {*a.learnt, *b.learnt}
    if learnt:
        a, b = (_without(side, learnt) for side in (a, b))

    scores = {A: a.scores, B: b.scores}
    compared = ComparedScores(
        scores,
        {A: a.figures, B: b.figures},
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        documents=documents,
    )
    gain = gain_of_better(
        scores,
        documents,
        max_loss=max_review_loss,
        confidence=gate_confidence,
        resamples=resamples,
        seed=seed,
    )
    sliced, _ = review_slices(
        scores,
        documents,
        A,
        min_reviews=min_reviews,
        confidence=confidence,
    )
    return Pair(
        a.name,
        b.name,
        a.figures.reviews,
        compared.boot.groups,
        _figures_of(compared, gain),
        _slices_of(sliced),
        _samples_of({A: a, B: b}),
        _costs_of(a, b),
        tuple(notes),
        confidence,
        gate_confidence,
    )


def gain_of_better(
    scores: Mapping[str, pl.DataFrame],
    documents: pl.DataFrame | None,
    *,
    max_loss: float,
    confidence: float,
    resamples: int,
    seed: int,
) -> Interval | None:
    """Return the better model's gain in open bits per byte as the gate computes it, with its cautious interval.

    None if a score is not finite, or with fewer than two groups of reviews.
    """
    rows = align_rows(scores)
    nats = {
        letter: (frame["nats"] + frame["spelling_nats"]).to_numpy()
        for letter, frame in rows.items()
    }
    if not all(np.isfinite(nats_D).all() for nats_D in nats.values()):
        return None

    bytes_D = rows[A]["bytes"].to_numpy()
    groups_D = groups_of(rows[A]["review_id"], documents)
    if nats[A].sum() < nats[B].sum():
        better = A
        other = B
    else:
        better = B
        other = A

    ratio = gain_ratio(
        nats[better],
        nats[other],
        bytes_D,
        groups_D,
        max_loss,
    )
    return cautious_gain(
        ratio,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )


def _figures_of(compared: ComparedScores, gain: Interval | None) -> pl.DataFrame:
    """Return the table `Pair.figures`; *gain* is that in open bits per byte, with the interval that decides."""
    decides = pl.col("figure") == BITS.words
    ends = {
        "gain_lo": None if gain is None else gain.low,
        "gain_hi": None if gain is None else gain.high,
    }
    names = {
        "other_value": A,
        "value": B,
        "difference_lo": "lo",
        "difference_hi": "hi",
    }
    table = (
        compared.difference_table(A).rename(names).with_columns(pl.col("figure").replace(METRICS))
    )
    table = table.select(
        "figure",
        A,
        B,
        "difference",
        "lo",
        "hi",
        "gain",
        "gain_lo",
        "gain_hi",
    )
    cautious = []
    for name, end in ends.items():
        deciding = pl.when(decides).then(pl.lit(end, pl.Float64))
        cautious.append(deciding.otherwise(name).alias(name))

    return of_the_better(table).with_columns(cautious).with_columns(verdict())


def _slices_of(sliced: pl.DataFrame) -> pl.DataFrame:
    """Return the table `Pair.slices` from the slices of both models."""
    keys = ("dimension", "slice")
    bits = pl.col(BITS.name)
    theirs = sliced.filter(model=A).select(*keys, "reviews", bits.alias(A))
    ours = sliced.filter(model=B).select(
        *keys,
        bits.alias(B),
        "gain",
        "gain_lo",
        "gain_hi",
    )
    both = theirs.join(ours, on=keys, maintain_order="left")
    return both.pipe(of_the_better).with_columns(verdict())


def _samples_of(sides: Mapping[str, ComparedModel]) -> pl.DataFrame:
    """Return the table `Pair.samples`: texts of the same seed beside each other."""
    text = pl.when("ended").then("text").otherwise(pl.col("text") + CUT)
    written = {
        letter: side.samples.select("stars", "number", text.alias(letter))
        for letter, side in sides.items()
    }
    return written[A].join(written[B], on=("stars", "number"), maintain_order="left")


def _costs_of(a: ComparedModel, b: ComparedModel) -> pl.DataFrame:
    """Return the table `Pair.costs`."""
    costs = []
    for name in dict.fromkeys([*a.cost, *b.cost]):
        costs.append(
            {
                "cost": name,
                A: a.cost.get(name),
                B: b.cost.get(name),
            }
        )

    return pl.DataFrame(
        costs,
        {
            "cost": pl.String(),
            A: pl.Float64(),
            B: pl.Float64(),
        },
    )


def _without(side: ComparedModel, learnt: Collection[str]) -> ComparedModel:
    """Return a model without the scores of the reviews that one of the two has learnt from, and its figures on the others."""
    rows = side.scores.filter(~pl.col("review_id").is_in(list(learnt)))
    if rows.is_empty():
        raise nothing_left(len(side.scores), len(learnt))
    labels = {
        name: getattr(side.figures, name)
        for name in ("unit", "vocabulary", "boundary", "adaptation")
    }
    return replace(side, scores=rows, figures=figures_of(rows, **labels))


def nothing_left(tests: int, learnt: int) -> EmptyInput:
    """Return the error that two models have learnt from all of these test reviews."""
    return EmptyInput(
        "There is no test review that neither version has learnt from",
        value=f"{tests:,} test reviews, {learnt:,} of them learnt",
        cause="the versions were fitted on other splits of the same reviews, or no test review has a label",
        remedy="give reviews that neither version knows: --input FILES",
    )


def learnt_notes(
    letter: str,
    learnt: Collection[str],
    tests: int,
    problems: Sequence[str],
) -> list[str]:
    """Return notes on what a model has learnt from the test reviews, and on what is not known of that."""
    share = f"{letter} was fitted or chosen on {len(learnt):,} of the {tests:,} test reviews: they are left out"
    unknown = f"it is not known whether {letter} learnt from these test reviews: "
    return [share] * bool(learnt) + [unknown + problem for problem in problems]


def of_the_better(table: pl.DataFrame) -> pl.DataFrame:
    """Turn gains of B over A into gains of the better model over the other, which the new column `better` names.

    Args:
        table: Columns gain, gain_lo and gain_hi.
    """
    a_is_better = pl.col("gain") < 0
    turned = {
        "gain": "gain",
        "gain_lo": "gain_hi",
        "gain_hi": "gain_lo",
    }
    gains = []
    for name, other in turned.items():
        gain_of_b = pl.col(other)
        gain_of_a = pl.when(gain_of_b < 1).then(1 - 1 / (1 - gain_of_b)).otherwise(-math.inf)
        gains.append(pl.when(a_is_better).then(gain_of_a).otherwise(name).alias(name))

    better = pl.when(a_is_better).then(pl.lit(A)).otherwise(pl.lit(B)).alias("better")
    return table.select(pl.exclude(*turned), better, *gains)


def verdict() -> pl.Expr:
    """Return the verdict of the interval of the better model's gain; that of an infinite figure has no interval."""
    sure = pl.format("{} is better", "better")
    said = pl.when(pl.col("gain_lo") > 0).then(sure).otherwise(pl.lit(UNDECIDED))
    unknown = pl.col("gain_lo").is_null() | pl.col("gain_hi").is_null()
    return pl.when(unknown).then(pl.lit(UNKNOWN)).otherwise(said).alias("verdict")


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
        left_out = ", ".join(label for name, label in METRICS.items() if name not in ANY_VOCABULARY)
        entries = []
        for letter, side in ((A, a), (B, b)):
            entries.append(f"{letter}: {side.entries:,} entries of unit {side.figures.unit}")

        sizes = ", ".join(entries)
        notes.append(
            f"They have different vocabularies ({sizes}): {left_out} are left out, since a "
            "smaller vocabulary turns more words into <unk>, or cuts the text into more tokens. Open figures include "
            "the spelling of unknown words, case and spaces, so they compare."
        )

    for side, letter in ((a, A), (b, B)):
        notes += learnt_notes(letter, side.learnt, len(side.scores), side.problems)
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
