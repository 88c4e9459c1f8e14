"""Write the report of classifiers: one self-contained page with the result first, then the reasons for it.

    Path("classifiers.html").write_text(classifier_report(results), encoding="utf-8")

For what was not measured, the page shows a short remark instead.

Draw figures of classifiers: levels with intervals, confusion matrix, learning curve, accuracy by slice.

`evaluation/plots/canvas.py` explains how figures are drawn, `evaluation/plots/curves.py` draws reliability
diagrams.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from evaluation.classification import tables
from evaluation.classification.figures import ClassifierFigures
from evaluation.classification.results import ClassificationResults
from evaluation.palette import PALETTE
from evaluation.plots.canvas import GREY, PALE, WIDTH, canvas, label_thousands, literal, styles_of, ticks_at
from evaluation.plots.curves import reliability_figure
from evaluation.reports.document import Link, Page, PageSection, PageTable, PageText, Part, Quote
from evaluation.reports.report_pictures import SHOWN, Drawing
from evaluation.reports.report_tables import count_of_rules, rules
from evaluation.scoring.calibration import reliability
from evaluation.statistics.bootstrap import Interval
from evaluation.statistics.slice_names import slice_name

RESULT, CONFUSION, CALIBRATION, LEARNING, SLICES = "result", "confusion", "calibration", "learning", "slices"
ERRORS = 10
"""Number of errors that are shown with their texts."""
MOST_CHARACTERS = 1_200
ABOUT_ERRORS = (
    "The worst of the wrong answers of {name}: {cost}. Read them before you trust a figure: some labels are wrong, and "
    "some texts do not tell."
)
LEAST_PROBABLE = "those with the lowest probability of the true label"
FARTHEST = "those farthest from the true label, as far as labels are numbers"
ABOUT_CALIBRATION = (
    "Reviews are put into bins by the probability of the answer; larger points hold more reviews. Below the dashed "
    "line: surer than right. ECE: expected calibration error, the mean distance of the points from that line, weighted "
    "by reviews."
)

Styles = Mapping[str, Mapping[str, Any]]
MOST_LABELS = 20
"""Maximum number of labels of a confusion matrix that can be read."""
WIDE_CELLS = 8
"""Maximum number of labels for which a cell has room for the share below the number."""
STRONGEST = 0.7
"""Opacity of a cell with all reviews of its label: the number on it must stay readable on a light and a dark page."""
MOST_SLICES = 12
"""Maximum number of drawn slices of one dimension: the largest ones."""
APART = 0.5
"""Share of a row over which the points of several classifiers are spread."""


def classifier_report(results: ClassificationResults) -> str:
    """Return the whole page."""
    lead = " · ".join(f"{name}: {value}" for name, value in results.run.items())
    drawings = list(drawings_of(results))

    def drawn(where: str, otherwise: str = "") -> list[Part]:
        return [one.picture for one in drawings if one.section == where] or [otherwise]

    opening: list[Part] = [*_result(results), *drawn(RESULT)]
    sections = [
        PageSection("Why: the gate's decision", list(_decision(results)), "decision"),
        PageSection("Classifiers beside each other", list(_compared(results)), "classifiers"),
        PageSection("Which labels are confused", [
            *drawn(CONFUSION, "There are too many labels to draw their confusion."),
            PageTable.of(tables.per_label(results, results.winner), f"Each label, as {results.winner} answers it"),
        ], CONFUSION),
        PageSection("Calibration", drawn(CALIBRATION, "No classifier has probabilities."), CALIBRATION),
        PageSection("Training", drawn(LEARNING, "No learning curve was recorded."), LEARNING),
        PageSection("Where it is weak", drawn(SLICES, "No slice has enough reviews."), SLICES),
        PageSection("Worst errors", list(_errors(results)), "errors"),
        PageSection("Data", [PageTable.facts(results.data)] if results.data else [], "data"),
    ]  # fmt: skip
    shown = [section for section in sections if section.parts]
    return Page("Report of classifiers", lead, (), shown, opening, "report").to_html()


def drawings_of(results: ClassificationResults) -> Iterator[Drawing]:
    """Draw every figure for which there are data."""
    styles = styles_of([one.name for one in results.classifiers])
    majority = results.majority.macro_f1, results.majority.accuracy
    yield Drawing(
        "levels", RESULT, level_figure(results.intervals, majority, styles),
        "Intervals of two classifiers may overlap although their difference is sure: see \"vs baseline\" in the table."
        if results.comparisons else "",
        styles=styles,
    )  # fmt: skip
    winner = results.figures[results.winner]
    if len(winner.labels) <= MOST_LABELS:
        yield Drawing(
            "confusion", CONFUSION, confusion_figure(winner, results.winner),
            "Number of test reviews, and their share of the reviews with this true label: the larger the share, the "
            "stronger the cell's colour. Right answers are on the diagonal.",
            tables.said_of_confusion(results),
        )  # fmt: skip
    yield from _calibrated(results)
    if curves := {one.name: one.curve for one in results.classifiers if one.curve}:
        yield Drawing("learning", LEARNING, learning_figure(curves, results.across, results.up, styles),
                      "A level line is a classifier that is not trained step by step.", styles=styles)  # fmt: skip
    if not results.slices.is_empty():
        yield Drawing(
            "slices", SLICES, slices_figure(results.slices, styles),
            "Slices by label show the recall of the label. Slices overlap, and among many of them some look bad by "
            "chance.",
            tables.said_of_slices(results), styles,
        )  # fmt: skip


def _calibrated(results: ClassificationResults) -> Iterator[Drawing]:
    """Yield the reliability diagram of the classifiers with probabilities, the winner first."""
    bins: dict[str, pl.DataFrame] = {}
    facts: dict[str, dict[str, float]] = {}
    for name in sorted(results.figures, key=lambda name: name != results.winner):
        rows, error = results.of(name).predicted, results.figures[name].calibration_error
        if error is not None and math.isfinite(error) and len(bins) < SHOWN:
            assert rows.confidence_N is not None
            bins[name], facts[name] = reliability(rows.confidence_N, rows.correct_N), {"ece": error}
    if bins:
        styles = styles_of([one.name for one in results.classifiers])
        chance = max(results.figures[name].calibration_chance or 0.0 for name in bins)
        yield Drawing("reliability", CALIBRATION, reliability_figure(bins, facts, styles), ABOUT_CALIBRATION,
                      f"Perfect probabilities have an ECE of up to {chance:.3f} here, by chance.", styles)  # fmt: skip


def _result(results: ClassificationResults) -> Iterator[Part]:
    """Yield who won, and the table of the classifiers."""
    yield PageText(tables.headline(results))
    if results.decision is not None:
        yield PageText(results.decision.headline, "good" if results.decision.promote else "bad")
    if results.links:
        yield [Link(name, address) for name, address in results.links.items()]
    yield PageTable.of(tables.result(results), tables.about_result(results))


def _decision(results: ClassificationResults) -> Iterator[Part]:
    decision = results.decision
    if decision is None:
        yield "The gate was not asked: this run only evaluates."
        return
    yield PageText(decision.headline, "good" if decision.promote else "bad")
    if close := rules(decision, close=True):
        yield PageTable.of(close, "Rules that failed, or passed narrowly")
    yield PageSection(count_of_rules(decision), [PageTable.of(rules(decision))])


def _compared(results: ClassificationResults) -> Iterator[Part]:
    if pairs := tables.said_of_pairs(results):
        yield f"Against the baseline {results.baseline}, on the same reviews; differences in points of 100:"
        yield pairs
    if costs := tables.costs(results):
        yield PageTable.of(costs, "Size and time, measured once")


def _errors(results: ClassificationResults) -> Iterator[Part]:
    rows = results.of(results.winner).predicted
    worst = results.worst_errors(ERRORS)
    if not worst:
        yield "No texts of wrong answers are at hand."
        return
    cost = FARTHEST if rows.probabilities_NK is None else LEAST_PROBABLE
    yield ABOUT_ERRORS.format(name=results.winner, cost=cost)
    quotes = []
    for row in worst:
        text = results.texts[rows.review_ids[row]]
        cut = text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]} …"
        quotes.append(Quote(cut, _answered(results, row)))
    yield quotes


def _answered(results: ClassificationResults, row: int) -> str:
    """Return true label and answer of a review, with their probabilities."""
    rows = results.of(results.winner).predicted
    said = []
    for what, number in (("true", rows.truth_N[row]), ("answered", rows.answers_N[row])):
        probability = "" if rows.probabilities_NK is None else f" ({rows.probabilities_NK[row, number]:.2%})"
        said.append(f"{what} {rows.labels[number]}{probability}")
    return f"{', '.join(said)} · {rows.review_ids[row]}"


def level_figure(levels: Mapping[str, Mapping[str, Interval]], majority: tuple[float, float], styles: Styles) -> Figure:
    """Draw macro-F1 and accuracy of each classifier with intervals, the first on top.

    Args:
        levels: By classifier, `evaluation.classification.compare.intervals`.
        majority: Macro-F1 and accuracy of always answering the most frequent label: a dashed line.
    """
    figure, panels = canvas(WIDTH, 1.4 + 0.35 * len(levels), columns=2)
    names = list(levels)
    panel: Axes
    for panel, level, (figure_name, words) in zip(
        panels, majority, (("macro_f1", "macro-F1"), ("accuracy", "accuracy")), strict=True
    ):
        for place, name in enumerate(names):
            found = levels[name][figure_name]
            whiskers = _whiskers(found.estimate, found.low, found.high)
            style = {**styles[name], "linestyle": "none"}
            panel.errorbar([found.estimate], [place], xerr=whiskers, **style, markersize=7, elinewidth=1.6, capsize=3)
        panel.axvline(level, color=GREY, linestyle="--", linewidth=1.3)
        _percent(panel, words)
        _name_rows(panel, names)
    panels[1].set_yticklabels([])
    figure.suptitle("Macro-F1 and accuracy with intervals; dashed: always the most frequent label")
    return figure


def confusion_figure(found: ClassifierFigures, name: str) -> Figure:
    """Draw the confusion matrix: each cell has its number of reviews, and its share of those of the true label."""
    labels = [literal(label) for label in found.labels]
    count = len(labels)
    figure, axes = canvas(min(WIDTH, 2.4 + 0.95 * count), 1.7 + 0.55 * count)
    for row, (numbers, of_label) in enumerate(zip(found.confusion, found.per_label, strict=True)):
        whole = max(1, of_label.reviews)
        for column, number in enumerate(numbers):
            place = column - 0.5, row - 0.5
            axes.add_patch(Rectangle(place, 1, 1, facecolor=PALETTE[0], alpha=STRONGEST * number / whole, linewidth=0))
            share = f"\n{number / whole:.1%}" if count <= WIDE_CELLS and number else ""
            weight = "bold" if row == column else "normal"
            if number or count <= WIDE_CELLS:
                axes.text(column, row, f"{number:,}{share}", ha="center", va="center", fontweight=weight)
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_xlim(-0.5, count - 0.5)
    axes.set_ylim(count - 0.5, -0.5)
    axes.tick_params(length=0)
    ticks_at(axes.xaxis, range(count), found.labels)
    axes.set_yticks(range(count), labels)
    if max(map(len, labels)) * count > 60:
        axes.tick_params(axis="x", rotation=35)
    axes.set_xlabel("answer")
    axes.set_ylabel("true label")
    axes.set_title(f"True labels and answers of {literal(name)}")
    return figure


def learning_figure(
    curves: Mapping[str, Sequence[tuple[float, float]]], across: str, up: str, styles: Styles
) -> Figure:
    """Draw a figure by the amount of training: one line per classifier, a level line for a single point.

    Args:
        curves: By classifier, points of amount and figure; points that are not finite are left out.
        across: What the amount counts, such as "training reviews seen".
        up: Name of the figure, such as "accuracy on validation reviews".
    """
    figure, axes = canvas(WIDTH, 4.2)
    for name, points in curves.items():
        finite = sorted((x, y) for x, y in points if math.isfinite(x) and math.isfinite(y))
        if len(finite) == 1:
            axes.axhline(finite[0][1], color=styles[name]["color"], linestyle="--", linewidth=1.6, label=name)
        elif finite:
            xs, ys = zip(*finite, strict=True)
            axes.plot(xs, ys, **styles[name], markersize=5, linewidth=1.8, label=name)
    axes.set_xlim(left=0)
    label_thousands(axes.xaxis)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.set_title(f"{up[:1].upper()}{up[1:]} by {across}")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def slices_figure(slices: pl.DataFrame, styles: Styles) -> Figure:
    """Draw the accuracy on each slice with intervals, one row per slice, one point per classifier.

    Args:
        slices: `evaluation.classification.slices.ACCURACIES`; of each dimension the largest slices are drawn.
    """
    rows = _drawn_slices(slices)
    places = {(row["dimension"], row["slice"]): place for place, row in enumerate(rows)}
    names = [name for name in styles if name in slices["model"].unique()]
    figure, axes = canvas(WIDTH, 1.6 + (0.24 + 0.07 * len(names)) * len(rows))
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=PALE, linewidth=0.8)
    for number, name in enumerate(names):
        shift = APART * (number / max(1, len(names) - 1) - 0.5) if len(names) > 1 else 0.0
        own = [row for row in slices.filter(pl.col("model") == name).iter_rows(named=True)
               if (row["dimension"], row["slice"]) in places]  # fmt: skip
        ys = [places[row["dimension"], row["slice"]] + shift for row in own]
        spans = [_whiskers(row["accuracy"], row["lo"], row["hi"]) for row in own]
        whiskers = [[span[side][0] for span in spans] for side in (0, 1)]
        axes.errorbar([row["accuracy"] for row in own], ys, xerr=whiskers, **{**styles[name], "linestyle": "none"},
                      markersize=5, elinewidth=1.1, capsize=2, label=name)  # fmt: skip
    for place in range(1, len(rows)):
        between = rows[place - 1]["dimension"] != rows[place]["dimension"]
        axes.axhline(place - 0.5, color=GREY if between else PALE, linewidth=0.8)
    _name_rows(axes, [f"{slice_name(row)} ({row['reviews']:,})" for row in rows])
    _percent(axes, "accuracy; in brackets: number of reviews")
    axes.set_title("Accuracy by slice, with intervals")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _drawn_slices(slices: pl.DataFrame) -> list[dict[str, Any]]:
    """Return dimension, slice and number of reviews of the slices to draw, in the order of the table."""
    known = slices.unique(("dimension", "slice"), keep="first", maintain_order=True)
    large = pl.col("reviews").rank("ordinal", descending=True).over("dimension") <= MOST_SLICES
    return known.filter(large).select("dimension", "slice", "reviews").to_dicts()


def _whiskers(estimate: float, low: float | None, high: float | None) -> list[list[float]]:
    """Return the lengths of an interval below and above, as Matplotlib needs them; 0 if there is no interval."""
    known = low is not None and high is not None and math.isfinite(low + high)
    return [[max(0.0, estimate - low)], [max(0.0, high - estimate)]] if known else [[0.0], [0.0]]  # type: ignore[operator]


def _percent(axes: Axes, words: str) -> None:
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.fmt_xdata = lambda x: f"{x:.2%}"
    axes.set_xlabel(words)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [literal(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.fmt_ydata = lambda y: names[min(max(round(y), 0), len(names) - 1)]
