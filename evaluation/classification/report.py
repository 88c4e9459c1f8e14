"""Write the report of classifiers: one self-contained page with the result first, then the reasons for it.

    Path("classifiers.html").write_text(classifier_report(results), encoding="utf-8")

For what was not measured, the page shows a short remark instead.

Its figures are the confusion matrix and reliability diagrams; MLflow has the curves of the trainings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import polars as pl
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from evaluation.classification import tables
from evaluation.classification.figures import ClassifierFigures
from evaluation.classification.results import ClassificationResults
from evaluation.palette import PALETTE
from evaluation.plots.canvas import WIDTH, canvas, literal, styles_of, ticks_at
from evaluation.plots.curves import reliability_figure
from evaluation.reports.document import Link, Page, PageSection, PageTable, PageText, Part, Quote
from evaluation.reports.report_pictures import SHOWN, Drawing
from evaluation.reports.report_tables import count_of_rules, rules
from evaluation.scoring.calibration import reliability

CONFUSION, CALIBRATION = "confusion", "calibration"
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

MOST_LABELS = 20
"""Maximum number of labels of a confusion matrix that can be read."""
WIDE_CELLS = 8
"""Maximum number of labels for which a cell has room for the share below the number."""
STRONGEST = 0.7
"""Opacity of a cell with all reviews of its label: the number on it must stay readable on a light and a dark page."""


def classifier_report(results: ClassificationResults) -> str:
    """Return the whole page."""
    lead = " · ".join(f"{name}: {value}" for name, value in results.run.items())
    drawings = list(drawings_of(results))

    def drawn(where: str, otherwise: str = "") -> list[Part]:
        return [one.picture for one in drawings if one.section == where] or [otherwise]

    sections = [
        PageSection("Why: the gate's decision", list(_decision(results)), "decision"),
        PageSection("Classifiers beside each other", list(_compared(results)), "classifiers"),
        PageSection("Which labels are confused", [
            *drawn(CONFUSION, "There are too many labels to draw their confusion."),
            PageTable.of(tables.per_label(results, results.winner), f"Each label, as {results.winner} answers it"),
        ], CONFUSION),
        PageSection("Calibration", drawn(CALIBRATION, "No classifier has probabilities."), CALIBRATION),
        PageSection("Where it is weak", list(_slices(results)), "slices"),
        PageSection("Worst errors", list(_errors(results)), "errors"),
        PageSection("Data", [PageTable.facts(results.data)] if results.data else [], "data"),
    ]  # fmt: skip
    shown = [section for section in sections if section.parts]
    return Page("Report of classifiers", lead, (), shown, list(_result(results)), "report").to_html()


def drawings_of(results: ClassificationResults) -> Iterator[Drawing]:
    """Draw every figure for which there are data."""
    winner = results.figures[results.winner]
    if len(winner.labels) <= MOST_LABELS:
        yield Drawing(
            "confusion", CONFUSION, confusion_figure(winner, results.winner),
            "Number of test reviews, and their share of the reviews with this true label: the larger the share, the "
            "stronger the cell's colour. Right answers are on the diagonal.",
            tables.said_of_confusion(results),
        )  # fmt: skip
    yield from _calibrated(results)


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


def _slices(results: ClassificationResults) -> Iterator[Part]:
    if results.slices.is_empty():
        yield "No slice has enough reviews."
        return
    yield tables.said_of_slices(results)
    about = "Accuracy, with intervals. Slices by label show the recall of the label. Slices overlap, and among many of "
    yield PageTable.of(tables.by_slice(results), about + "them some look bad by chance.")


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
    answers = []
    for what, number in (("true", rows.truth_N[row]), ("answered", rows.answers_N[row])):
        probability = "" if rows.probabilities_NK is None else f" ({rows.probabilities_NK[row, number]:.2%})"
        answers.append(f"{what} {rows.labels[number]}{probability}")
    return f"{', '.join(answers)} · {rows.review_ids[row]}"


def confusion_figure(measured: ClassifierFigures, name: str) -> Figure:
    """Draw the confusion matrix: each cell has its number of reviews, and its share of those of the true label."""
    labels = [literal(label) for label in measured.labels]
    count = len(labels)
    figure, axes = canvas(min(WIDTH, 2.4 + 0.95 * count), 1.7 + 0.55 * count)
    for row, (numbers, of_label) in enumerate(zip(measured.confusion, measured.per_label, strict=True)):
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
    ticks_at(axes.xaxis, range(count), measured.labels)
    axes.set_yticks(range(count), labels)
    if max(map(len, labels)) * count > 60:
        axes.tick_params(axis="x", rotation=35)
    axes.set_xlabel("answer")
    axes.set_ylabel("true label")
    axes.set_title(f"True labels and answers of {literal(name)}")
    return figure
