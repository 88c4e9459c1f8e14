"""Write the report of classifiers: the answer first, the reasons for it folded (`evaluation/reports/report.py`).

    Path("classifiers.html").write_text(classifier_page(results).to_html(), encoding="utf-8")

Build the tables and sentences of the report of classifiers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from evaluation.classification.figures import ClassifierFigures
from evaluation.classification.results import ClassificationResults
from evaluation.palette import PALETTE
from evaluation.reports.canvas import WIDTH, canvas, styles_of, ticks_at
from evaluation.reports.document import Amount, Page, PageSection, PageTable, Part, Picture, Quote
from evaluation.reports.report import answer_page, decision_sections
from evaluation.reports.report_pictures import ANSWER, CALIBRATION, PANELS, Drawing
from evaluation.reports.report_tables import amount, outcome, title
from evaluation.reports.run_figures import reliability_figure
from evaluation.scoring.metrics import reliability
from evaluation.statistics.bootstrap import Interval
from evaluation.statistics.slices import slice_name

Row = dict[str, Any]
NONE = "–"
ABOUT = (
    "{reviews:,} test reviews{groups}, best macro-F1 first. ±: half of the {confidence:.0%} interval. Mean error: "
    "distance of answer and truth; lower is better."
)
FIRST = ("macro-F1", "vs baseline", "accuracy", "mean error")
MORE = ("log loss", "calibration error", "kappa")
"""Columns of the first table, and of that of further figures."""
FIGURES = {
    "macro-F1": "macro_f1", "accuracy": "accuracy", "log loss": "log_loss", "mean error": "mean_absolute_error",
    "kappa": "quadratic_kappa",
}  # fmt: skip
SHARES = ("macro_f1", "accuracy", "precision", "recall", "f1")
"""Figures that are shown in percent."""


def written(interval: Interval | None, share: bool, sign: str = "") -> str:
    """Return a figure with half the width of its interval; shares in percent."""
    if interval is None or not math.isfinite(interval.estimate):
        return NONE
    times, digits = (100, 1) if share else (1, 3)
    half = times * (interval.high - interval.low) / 2
    value = f"{times * interval.estimate:{sign}.{digits}f}{'%' * share}"
    return value + (f" ±{half:.2g}" if math.isfinite(half) else "")


def result(results: ClassificationResults, columns: Sequence[str] = FIRST) -> list[Row]:
    """Return one row per classifier, and one of always answering the most frequent label; no empty columns."""
    rows = [_row(results, name) for name in results.figures]
    always = results.majority
    majority = {"macro-F1": f"{always.macro_f1:.1%}", "accuracy": f"{always.accuracy:.1%}"}
    if always.mean_absolute_error is not None:
        majority["mean error"] = f"{always.mean_absolute_error:.3f}"
    heads = [head for head in columns if any(row[head] != NONE for row in rows)]
    rows += [{"classifier": f"always '{always.majority_label}'", **majority}] if columns == FIRST else []
    return [{"classifier": row["classifier"], **{head: Amount(row.get(head, NONE)) for head in heads}}
            for row in rows] if heads else []  # fmt: skip


def about_result(results: ClassificationResults) -> str:
    """Return the caption of `result`."""
    first = next(iter(results.intervals.values()))["accuracy"]
    groups = "" if first.groups == first.reviews else f" in {first.groups:,} groups of dependent reviews"
    about = ABOUT.format(reviews=first.reviews, groups=groups, confidence=results.confidence)
    return about + f" vs baseline: points of macro-F1 against {results.baseline}." * bool(results.comparisons)


def _row(results: ClassificationResults, name: str) -> Row:
    measured, one = results.figures[name], results.of(name)
    kind = f" ({one.kind})" if one.kind and one.kind != name else ""
    cells = {head: written(results.intervals[name].get(key), key in SHARES) for head, key in FIGURES.items()}
    gain = results.comparisons[name].macro_f1 if name in results.comparisons else None
    row = {"classifier": name + kind,
           "macro-F1": cells.pop("macro-F1"), "vs baseline": written(gain, True, "+"), **cells}  # fmt: skip
    if measured.calibration_error is not None and math.isfinite(measured.calibration_error):
        row["calibration error"] = f"{measured.calibration_error:.3f} (chance {measured.calibration_chance:.3f})"
    return {head: row.get(head, NONE) for head in (*row, "calibration error")}


def per_label(results: ClassificationResults, name: str) -> list[Row]:
    """Return the figures of each label of a classifier, with intervals."""
    ends = results.intervals[name]
    return [
        {
            "label": one.label, "reviews": one.reviews, "answered": one.answered,
            **{figure: Amount(written(ends[figure.lower(), number], True)) for figure in ("precision", "recall", "F1")},
        }
        for number, one in enumerate(results.figures[name].per_label)
    ]  # fmt: skip


def by_slice(results: ClassificationResults) -> list[Row]:
    """Return the accuracy of the winner and the baseline on each slice, with intervals."""
    rows: dict[tuple[str, str], Row] = {}
    for one in results.slices.iter_rows(named=True):
        row = rows.setdefault((one["dimension"], one["slice"]), {"slice": slice_name(one), "reviews": one["reviews"]})
        half = "" if one["lo"] is None else f" ±{50 * (one['hi'] - one['lo']):.2g}"
        row[one["model"]] = Amount(f"{one['accuracy']:.1%}{half}")
    return list(rows.values())


def costs(results: ClassificationResults) -> list[Row]:
    """Return size and time of each classifier; an empty list if none was measured."""
    heads = list(dict.fromkeys(head for one in results.classifiers for head in one.costs))
    return [
        {"classifier": name, **{head: Amount(amount(results.of(name).costs.get(head))) for head in heads}}
        for name in results.figures
    ] if heads else []  # fmt: skip


def headline(results: ClassificationResults) -> str:
    """Return how good the winner is, against what, and what the gate decided."""
    name, measured = results.winner, results.figures[results.winner]
    sentence = (
        f"{name} has a macro-F1 of {measured.macro_f1:.1%} and an accuracy of {measured.accuracy:.1%} on the test "
        f"reviews; always answering '{measured.majority_label}' has {measured.majority_accuracy:.1%}."
    )
    if name in results.comparisons:
        gain = results.comparisons[name].macro_f1
        far = f"{100 * abs(gain.estimate):.1f} points {'above' if gain.estimate > 0 else 'below'}"
        sentence += f" Its macro-F1 is {far if gain.estimate else 'equal to'} the baseline {results.baseline}: "
        sentence += f"{verdict(gain)}."
    return sentence if results.decision is None else f"{sentence} {outcome(results.decision, results.version, None)}"


def verdict(gain: Interval) -> str:
    """Return what the interval of a gain in macro-F1 says; the gate asks more, so this is no verdict."""
    if not math.isfinite(gain.low + gain.high):
        return "the difference has no interval"
    if gain.low > 0:
        return "surely better"
    return "surely worse" if gain.high < 0 else "the difference may be chance"


def compared(results: ClassificationResults) -> list[Row]:
    """Return one row per comparison with the baseline, on the same reviews."""
    return [
        {"classifier": name, "alone right": pair.only_b, "baseline alone right": pair.only_a,
         "accuracy": Amount(written(pair.accuracy, True, "+")),
         "verdict on macro-F1": verdict(pair.macro_f1)}
        for name, pair in results.comparisons.items()
    ]  # fmt: skip


def finding_of_confusion(results: ClassificationResults) -> str:
    """Return the most frequent kind of error of the winner."""
    measured = results.figures[results.winner]
    wrong = [
        (number, true, answer)
        for true, numbers in zip(measured.labels, measured.confusion, strict=True)
        for answer, number in zip(measured.labels, numbers, strict=True)
        if true != answer and number
    ]
    if not wrong:
        return "There is no error."
    number, true, answer = max(wrong, key=lambda each: each[0])
    return f"Most frequent error: '{answer}' for a true '{true}', {number:,} of {sum(each[0] for each in wrong):,}."


def finding_of_slices(results: ClassificationResults) -> str:
    """Return the slice on which the winner has the lowest accuracy."""
    slices = results.slices.filter(model=results.winner).sort("accuracy", "dimension", "slice")
    if slices.is_empty():
        return "No slice has enough reviews."
    worst = slices.row(0, named=True)
    return f"Lowest accuracy: {slice_name(worst)}, {worst['accuracy']:.1%}."


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

    rows, errors = result(results), list(_errors(results))
    table = PageTable.of(rows, about_result(results), list(results.figures).index(results.winner))
    beside: list[PageTable | Picture] = [table, *drawn(ANSWER)]
    answer: list[Part] = [beside, errors[:FIRST_ERRORS]]
    sections = [
        *decision_sections(results.decision),
        PageSection("Which labels are confused", [PageTable.of(per_label(results, results.winner))], "labels",
                    finding_of_confusion(results)),
        PageSection("Where it is weak", [
            PageTable.of(by_slice(results), "Accuracy; of a label its recall. Slices overlap, and among many of "
                         "them some look bad by chance."),
        ], "slices", finding_of_slices(results)),
        PageSection("Can its probabilities be trusted", [drawn(CALIBRATION)], "calibration"),
        PageSection("Worst errors", [
            "Read them before you trust a figure: some labels are wrong, and some texts do not tell.", more,
        ] if (more := errors[FIRST_ERRORS:]) else [], "errors"),
        PageSection("More figures", [
            PageTable.of(result(results, MORE), "Kappa: higher is better; the others: lower is better"),
            PageTable.of(compared(results), f"Against the baseline {results.baseline}, on the same reviews"),
            PageTable.of(costs(results), "Size and time, measured once"),
        ], "figures"),
        PageSection("Data", [PageTable.facts(results.data)] if results.data else [], "data"),
    ]  # fmt: skip
    name = title(results.source, results.name, results.version, results.decision)
    return answer_page(
        name, results.run, headline(results), results.decision, results.links, answer, sections
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
