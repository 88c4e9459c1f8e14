"""Build the tables and sentences of the report of classifiers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from evaluation.classification.results import ClassificationResults
from evaluation.reports.document import Amount
from evaluation.statistics.bootstrap import Interval
from evaluation.statistics.slice_names import slice_name

Row = dict[str, Any]
NONE = "–"
VERSUS = "Vs baseline: points of macro-F1 above {baseline}, paired by review. "
ABOUT_RESULT = (
    "{reviews:,} test reviews{groups}, best macro-F1 first. In brackets: {confidence:.0%} bootstrap "
    "intervals. {versus}Macro-F1, accuracy and kappa: higher is better; "
    "log loss, calibration error and mean error (distance of answer and truth): lower is better."
)


def result(results: ClassificationResults) -> list[Row]:
    """Return one row per classifier, and one of always answering the most frequent label."""
    rows = [_row(results, name) for name in results.figures]
    measured = results.majority
    majority = {"classifier": f"always '{measured.majority_label}'", "macro-F1": _share(measured.macro_f1),
                "accuracy": _share(measured.accuracy)}  # fmt: skip
    if measured.mean_absolute_error is not None:
        majority["mean error"] = f"{measured.mean_absolute_error:.3f}"
    columns = [head for head in rows[0] if any(row[head] != NONE for row in rows)]
    return [
        {head: row.get(head, NONE) if head == "classifier" else Amount(row.get(head, NONE)) for head in columns}
        for row in (*rows, majority)
    ]


def about_result(results: ClassificationResults) -> str:
    """Return the caption of `result`."""
    first = next(iter(results.intervals.values()))["accuracy"]
    groups = "" if first.groups == first.reviews else f" in {first.groups:,} groups of dependent reviews"
    return ABOUT_RESULT.format(
        reviews=first.reviews, groups=groups, confidence=results.confidence,
        versus=VERSUS.format(baseline=results.baseline) if results.comparisons else "",
    )


def _row(results: ClassificationResults, name: str) -> Row:
    measured, ends, one = results.figures[name], results.intervals[name], results.of(name)
    kind = f" ({one.kind})" if one.kind and one.kind != name else ""
    gain = results.comparisons[name].macro_f1 if name in results.comparisons else None
    return {
        "classifier": f"{name}{kind}" + ", baseline" * (name == results.baseline),
        "macro-F1": _percent(ends["macro_f1"]),
        "vs baseline": NONE if gain is None else points(gain),
        "accuracy": _percent(ends["accuracy"]),
        "log loss": _number(ends.get("log_loss")),
        "calibration error": _calibration(measured.calibration_error, measured.calibration_chance),
        "mean error": _number(ends.get("mean_absolute_error")),
        "kappa": _number(ends.get("quadratic_kappa")),
    }


def per_label(results: ClassificationResults, name: str) -> list[Row]:
    """Return the figures of each label of a classifier, with intervals."""
    ends = results.intervals[name]
    return [
        {
            "label": one.label, "reviews": one.reviews, "answered": one.answered,
            **{figure: Amount(_percent(ends[key, number]))
               for figure, key in (("precision", "precision"), ("recall", "recall"), ("F1", "f1"))},
        }
        for number, one in enumerate(results.figures[name].per_label)
    ]  # fmt: skip


def by_slice(results: ClassificationResults) -> list[Row]:
    """Return the accuracy of the winner and the baseline on each slice, with intervals."""
    rows: dict[tuple[str, str], Row] = {}
    for one in results.slices.iter_rows(named=True):
        row = rows.setdefault((one["dimension"], one["slice"]), {"slice": slice_name(one), "reviews": one["reviews"]})
        ends = "" if one["lo"] is None else f"\n({100 * one['lo']:.1f} to {100 * one['hi']:.1f})"
        row[one["model"]] = Amount(_share(one["accuracy"]) + ends)
    return list(rows.values())


def costs(results: ClassificationResults) -> list[Row]:
    """Return size and time of each classifier; an empty list if none was measured."""
    heads = list(dict.fromkeys(head for one in results.classifiers for head in one.costs))
    return [
        {"classifier": name, **{head: Amount(_cost(results.of(name).costs.get(head))) for head in heads}}
        for name in results.figures
    ] if heads else []  # fmt: skip


def _cost(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if math.isfinite(value) else NONE
    return NONE if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def headline(results: ClassificationResults) -> str:
    """Return the result in one or two sentences."""
    name, measured = results.winner, results.figures[results.winner]
    best = f", best on the validation reviews of {len(results.classifiers)} classifiers,"
    sentence = (
        f"{name}{best if len(results.classifiers) > 1 else ''} has a macro-F1 of "
        f"{measured.macro_f1:.1%} and an accuracy of {measured.accuracy:.1%} on the test reviews; always answering "
        f"'{measured.majority_label}' has {measured.majority_accuracy:.1%}."
    )
    if name not in results.comparisons:
        return sentence
    gain = results.comparisons[name].macro_f1
    return f"{sentence} Its macro-F1 is {_apart(gain.estimate)} the baseline {results.baseline}: {verdict(gain)}."


def _apart(gain: float) -> str:
    if gain == 0:
        return "equal to that of"
    return f"{100 * abs(gain):.1f} points {'above' if gain > 0 else 'below'} that of"


def verdict(gain: Interval) -> str:
    """Return what the interval of a gain in macro-F1 says; the gate asks more (`gate.py`), so this is no verdict."""
    if not math.isfinite(gain.low + gain.high):
        return "the difference has no interval"
    if gain.low > 0:
        return "the whole interval of macro-F1 is above 0"
    return "the whole interval of macro-F1 is below 0" if gain.high < 0 else "the difference may be chance"


def said_of_pairs(results: ClassificationResults) -> list[str]:
    """Return one sentence per comparison with the baseline, with McNemar's exact test."""
    grouped = results.classifiers[0].predicted.groups_N is not None
    return [
        f"{name} alone is right on {pair.only_b:,} reviews, {results.baseline} alone on {pair.only_a:,}"
        + (f" ({pair.groups_b:,} and {pair.groups_a:,} groups)" if grouped else "")
        + f": McNemar's exact test p = {pair.p_value:.2g}, accuracy {points(pair.accuracy, between=' ')}, "
        f"macro-F1 {points(pair.macro_f1, between=' ')}: {verdict(pair.macro_f1)}."
        for name, pair in results.comparisons.items()
    ]


def said_of_confusion(results: ClassificationResults) -> str:
    """Return the most frequent kind of error of the winner; empty if it makes none."""
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


def said_of_slices(results: ClassificationResults) -> str:
    """Return the slice on which the winner has the lowest accuracy."""
    slices = results.slices.filter(results.slices["model"] == results.winner).sort("accuracy", "dimension", "slice")
    if slices.is_empty():
        return ""
    worst: Mapping[str, Any] = slices.row(0, named=True)
    return f"Lowest accuracy of {results.winner}: {worst['dimension']} {worst['slice']}, {worst['accuracy']:.1%}."


def points(gain: Interval, between: str = "\n") -> str:
    """Return a difference of shares in points of 100, with its interval."""
    ends = _ends(gain, lambda value: f"{100 * value:+.2f}")
    return f"{100 * gain.estimate:+.2f}" + (f"{between}({ends})" if ends else "")


def _percent(interval: Interval) -> str:
    ends = _ends(interval, lambda value: f"{100 * value:.1f}")
    return _share(interval.estimate) + (f"\n({ends})" if ends else "")


def _number(interval: Interval | None) -> str:
    if interval is None or not math.isfinite(interval.estimate):
        return NONE
    ends = _ends(interval, lambda value: f"{value:.3f}")
    return f"{interval.estimate:.3f}" + (f"\n({ends})" if ends else "")


def _ends(interval: Interval, shown: Any) -> str:
    return f"{shown(interval.low)} to {shown(interval.high)}" if math.isfinite(interval.low + interval.high) else ""


def _calibration(error: float | None, chance: float | None) -> str:
    if error is None or chance is None or not math.isfinite(error):
        return NONE
    return f"{error:.3f}\n(chance {chance:.3f})"


def _share(value: float) -> str:
    return f"{value:.2%}" if math.isfinite(value) else NONE
