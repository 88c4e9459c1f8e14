"""Build the tables and sentences of the report of classifiers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from evaluation.classification.results import ClassificationResults
from evaluation.reports.document import Amount
from evaluation.reports.report_words import amount, outcome
from evaluation.statistics.bootstrap import Interval
from evaluation.statistics.slices import slice_name

Row = dict[str, Any]
NONE = "–"
ABOUT = (
    "{reviews:,} test reviews{groups}, best macro-F1 first. ±: half of the {confidence:.0%} interval. Mean error: "
    "distance of answer and truth; lower is better."
)
ANSWER = ("macro-F1", "vs baseline", "accuracy", "mean error")
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


def result(results: ClassificationResults, columns: Sequence[str] = ANSWER) -> list[Row]:
    """Return one row per classifier, and one of always answering the most frequent label; no empty columns."""
    rows = [_row(results, name) for name in results.figures]
    always = results.majority
    majority = {"macro-F1": f"{always.macro_f1:.1%}", "accuracy": f"{always.accuracy:.1%}"}
    if always.mean_absolute_error is not None:
        majority["mean error"] = f"{always.mean_absolute_error:.3f}"
    heads = [head for head in columns if any(row[head] != NONE for row in rows)]
    rows += [{"classifier": f"always '{always.majority_label}'", **majority}] if columns == ANSWER else []
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
