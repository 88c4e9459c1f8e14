"""Write the report of classifiers: one self-contained page with the result first, then the reasons for it.

    Path("classifiers.html").write_text(classifier_report(results), encoding="utf-8")

For what was not measured, the page shows a short remark instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import polars as pl

from evaluation.classification import plots, tables
from evaluation.classification.results import ClassificationResults
from evaluation.plots.calibration import reliability_figure
from evaluation.plots.canvas import styles_of
from evaluation.reports.document import Link, Page, PageSection, PageTable, PageText, Part, Quote
from evaluation.reports.report_pictures import SHOWN, Drawing
from evaluation.reports.report_tables import count_of_rules, rules
from evaluation.scoring.calibration import reliability

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
        "levels", RESULT, plots.level_figure(results.intervals, majority, styles),
        "Intervals of two classifiers may overlap although their difference is sure: see \"vs baseline\" in the table."
        if results.comparisons else "",
        styles=styles,
    )  # fmt: skip
    winner = results.figures[results.winner]
    if len(winner.labels) <= plots.MOST_LABELS:
        yield Drawing(
            "confusion", CONFUSION, plots.confusion_figure(winner, results.winner),
            "Number of test reviews, and their share of the reviews with this true label: the larger the share, the "
            "stronger the cell's colour. Right answers are on the diagonal.",
            tables.said_of_confusion(results),
        )  # fmt: skip
    yield from _calibrated(results)
    if curves := {one.name: one.curve for one in results.classifiers if one.curve}:
        yield Drawing("learning", LEARNING, plots.learning_figure(curves, results.across, results.up, styles),
                      "A level line is a classifier that is not trained step by step.", styles=styles)  # fmt: skip
    if not results.slices.is_empty():
        yield Drawing(
            "slices", SLICES, plots.slices_figure(results.slices, styles),
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
