"""Write the report of classifiers: the answer first, the reasons for it folded (`evaluation/reports/report.py`).

    Path("classifiers.html").write_text(classifier_page(results).to_html(), encoding="utf-8")
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
from evaluation.reports.canvas import WIDTH, canvas, styles_of, ticks_at
from evaluation.reports.document import Page, PageSection, PageTable, Part, Picture, Quote
from evaluation.reports.report import answer_page, decision_sections
from evaluation.reports.report_pictures import ANSWER, CALIBRATION, PANELS, Drawing
from evaluation.reports.report_words import title
from evaluation.reports.run_figures import reliability_figure
from evaluation.scoring.calibration import reliability

ERRORS, FIRST_ERRORS = 10, 3
"""Number of errors that are shown with their texts, and of those that are not folded."""
MOST_CHARACTERS = 1_200
MOST_LABELS, WIDE_CELLS = 20, 6
"""Maximum number of labels of a confusion matrix that can be read, and of one whose cells have room for a share."""
STRONGEST = 0.7
"""Opacity of a cell with all reviews of its label: the number on it must stay readable on a light and a dark page."""


def classifier_page(results: ClassificationResults) -> Page:
    """Return the whole page."""
    drawings = list(drawings_of(results))

    def drawn(section: str) -> list[Picture]:
        return [one.picture for one in drawings if one.section == section]

    rows, errors = tables.result(results), list(_errors(results))
    table = PageTable.of(rows, tables.about_result(results), list(results.figures).index(results.winner))
    beside: list[PageTable | Picture] = [table, *drawn(ANSWER)]
    answer: list[Part] = [beside, errors[:FIRST_ERRORS]]
    sections = [
        *decision_sections(results.decision),
        PageSection("Which labels are confused", [PageTable.of(tables.per_label(results, results.winner))], "labels",
                    tables.finding_of_confusion(results)),
        PageSection("Where it is weak", [
            PageTable.of(tables.by_slice(results), "Accuracy; of a label its recall. Slices overlap, and among many of "
                         "them some look bad by chance."),
        ], "slices", tables.finding_of_slices(results)),
        PageSection("Can its probabilities be trusted", [drawn(CALIBRATION)], "calibration"),
        PageSection("Worst errors", [
            "Read them before you trust a figure: some labels are wrong, and some texts do not tell.", more,
        ] if (more := errors[FIRST_ERRORS:]) else [], "errors"),
        PageSection("More figures", [
            PageTable.of(tables.result(results, tables.MORE), "Kappa: higher is better; the others: lower is better"),
            PageTable.of(tables.compared(results), f"Against the baseline {results.baseline}, on the same reviews"),
            PageTable.of(tables.costs(results), "Size and time, measured once"),
        ], "figures"),
        PageSection("Data", [PageTable.facts(results.data)] if results.data else [], "data"),
    ]  # fmt: skip
    name = title(results.source, results.name, results.version, results.decision)
    return answer_page(
        name, results.run, tables.headline(results), results.decision, results.links, answer, sections
    )


def drawings_of(results: ClassificationResults) -> Iterator[Drawing]:
    """Draw the confusion matrix, and the reliability diagram of classifiers with probabilities, the winner first."""
    winner = results.figures[results.winner]
    if len(winner.labels) <= MOST_LABELS:
        yield Drawing("confusion", ANSWER, confusion_figure(winner), f"Answers of {results.winner}",
                      "Test reviews, and their share of those with this true label; right answers are on the "
                      "diagonal.")  # fmt: skip
    bins: dict[str, pl.DataFrame] = {}
    facts: dict[str, dict[str, float]] = {}
    names = sorted(results.figures, key=lambda name: name != results.winner)
    for name in names:
        rows, error = results.of(name).predicted, results.figures[name].calibration_error
        if error is not None and math.isfinite(error) and len(bins) < PANELS:
            assert rows.confidence_N is not None
            bins[name], facts[name] = reliability(rows.confidence_N, rows.correct_N), {"ece": error}
    if bins:
        chance = max(results.figures[name].calibration_chance or 0.0 for name in bins)
        yield Drawing("reliability", CALIBRATION, reliability_figure(bins, facts, styles_of(names)),
                      "Reliability of answers", "Below the dashed line a classifier is surer than it is right. ECE: "
                      f"expected calibration error; perfect probabilities have up to {chance:.3f}, by chance."
                      )  # fmt: skip


def _errors(results: ClassificationResults) -> Iterator[Quote]:
    """Yield the winner's worst errors with true label and answer, and their probabilities."""
    rows = results.of(results.winner).predicted
    for row in results.worst_errors(ERRORS):
        answers = []
        for what, number in (("true", rows.truth_N[row]), ("answered", rows.answers_N[row])):
            probability = "" if rows.probabilities_NK is None else f" ({rows.probabilities_NK[row, number]:.2%})"
            answers.append(f"{what} {rows.labels[number]}{probability}")
        text = results.texts[rows.review_ids[row]]
        cut = text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]} …"
        yield Quote(cut, f"{', '.join(answers)} · {rows.review_ids[row]}")


def confusion_figure(measured: ClassifierFigures) -> Figure:
    """Draw the confusion matrix: each cell has its number of reviews, and its share of those of the true label."""
    count = len(measured.labels)
    figure, axes = canvas(WIDTH, 0.9 + min(0.5, 8 / count) * count)
    for row, (numbers, of_label) in enumerate(zip(measured.confusion, measured.per_label, strict=True)):
        whole = max(1, of_label.reviews)
        for column, number in enumerate(numbers):
            place = column - 0.5, row - 0.5
            axes.add_patch(Rectangle(place, 1, 1, facecolor=PALETTE[0], alpha=STRONGEST * number / whole, linewidth=0))
            share = f"\n{number / whole:.1%}" if count <= WIDE_CELLS and number else ""
            if number or count <= WIDE_CELLS:
                axes.text(column, row, f"{number:,}{share}", ha="center", va="center",
                          fontweight="bold" if row == column else "normal")  # fmt: skip
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_xlim(-0.5, count - 0.5)
    axes.set_ylim(count - 0.5, -0.5)
    axes.tick_params(length=0)
    ticks_at(axes.xaxis, measured.labels)
    ticks_at(axes.yaxis, measured.labels)
    if max(map(len, measured.labels)) * count > 40:
        axes.tick_params(axis="x", rotation=35)
    axes.set_xlabel("answer")
    axes.set_ylabel("true label")
    return figure
