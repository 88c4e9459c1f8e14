"""Draw the figures of the report of classifiers."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from reviewlm.evaluation.classification.report import ClassificationResults
from reviewlm.evaluation.reports.canvas import WIDTH, canvas, styles_of, ticks_at
from reviewlm.evaluation.reports.document import PALETTE
from reviewlm.evaluation.reports.report_pictures import ANSWER, PANELS, WEAK, Drawing
from reviewlm.evaluation.reports.report_tables import Row
from reviewlm.evaluation.reports.run_figures import reliability_figure
from reviewlm.evaluation.scoring.metrics import reliability

MOST_LABELS = 20
WIDE_CELLS = 6
"""Maximum number of labels of a confusion matrix that can be read, and of one whose cells have room for a share."""
STRONGEST = 0.7
"""Opacity of a cell with all reviews of its label: the number on it must stay readable on a light and a dark page."""


def drawings_of(results: ClassificationResults) -> Iterator[Drawing]:
    """Draw the confusion matrix, and the reliability diagram of classifiers with probabilities, the winner first."""
    if len(results.best["labels"]) <= MOST_LABELS:
        yield Drawing(
            "confusion",
            ANSWER,
            confusion_figure(results.best),
            f"Answers of {results.winner}",
            "Test reviews, and their share of those with this true label; right answers are on the "
            "diagonal.",
        )

    rows = sorted(results.rows, key=lambda row: row["name"] != results.winner)
    measured = {row["name"]: row for row in rows if row["calibration_error"] is not None}
    bins: dict[str, pl.DataFrame] = {}
    for name in list(measured)[:PANELS]:
        predicted = results.answers[name]
        assert predicted.confidence_N is not None
        bins[name] = reliability(predicted.confidence_N, predicted.correct_N)

    if bins:
        chance = max(measured[name]["calibration_chance"] for name in bins)
        facts = {name: {"ece": measured[name]["calibration_error"]} for name in bins}
        yield Drawing(
            "reliability",
            WEAK,
            reliability_figure(bins, facts, styles_of([r["name"] for r in rows])),
            "Reliability of answers",
            "Below the dashed line a classifier is surer than it is right. ECE: "
            f"expected calibration error; perfect probabilities have up to {chance:.3f}, by chance.",
        )


def confusion_figure(measured: Row) -> Figure:
    """Draw the confusion matrix: each cell has its number of reviews, and its share of those of the true label."""
    count = len(measured["labels"])
    figure, axes = canvas(WIDTH, 0.9 + min(0.5, 8 / count) * count)
    for row, numbers in enumerate(measured["confusion"]):
        whole = max(1, sum(numbers))
        for column, number in enumerate(numbers):
            place = column - 0.5, row - 0.5
            axes.add_patch(
                Rectangle(
                    place,
                    1,
                    1,
                    facecolor=PALETTE[0],
                    alpha=STRONGEST * number / whole,
                    linewidth=0,
                )
            )
            share = ""
            if count <= WIDE_CELLS and number:
                share = f"\n{number / whole:.1%}"

            if number or count <= WIDE_CELLS:
                axes.text(
                    column,
                    row,
                    f"{number:,}{share}",
                    ha="center",
                    va="center",
                    fontweight="bold" if row == column else "normal",
                )

    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_xlim(-0.5, count - 0.5)
    axes.set_ylim(count - 0.5, -0.5)
    axes.tick_params(length=0)
    ticks_at(axes.xaxis, measured["labels"])
    ticks_at(axes.yaxis, measured["labels"])
    if max(map(len, measured["labels"])) * count > 40:
        axes.tick_params(axis="x", rotation=35)

    axes.set_xlabel("answer")
    axes.set_ylabel("true label")
    return figure
