"""Compare classifiers on the same reviews: a row of figures for each, differences of a pair, bootstrap intervals.

All classifiers find the same reviews hard. So a difference is paired: the same reviews are drawn for both (paired
bootstrap). `evaluation/statistics/bootstrap.py` explains the method: whole groups of dependent reviews are drawn, and
each figure is computed again for each draw. The intervals say what other test reviews would have given, not what another
training would have given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from reviewlm.core.errors import InputError
from reviewlm.evaluation.classification.answers import Predicted
from reviewlm.evaluation.classification.figures import (
    ROUNDING,
    Formula,
    columns_of,
    figures,
    formulas,
)
from reviewlm.evaluation.statistics.bootstrap import DRAWS_AT_ONCE, MAX_UNITS, Bootstrap, Interval
from reviewlm.models.classification.classifier import mean_f1

COMPARED = ("accuracy", "macro_f1")
"""Figures whose differences have an interval; higher is better."""
MOST_ENUMERATED = 12
"""Largest number of groups with different answers for which all exchanges are counted."""


@dataclass(frozen=True)
class ClassifierComparison:
    """Differences of two classifiers, b − a: above 0, b is better.

    Args:
        accuracy: Difference of the accuracies.
        macro_f1: Difference of the macro-F1.
        only_a: Number of reviews on which only a is right.
        only_b: Number of reviews on which only b is right.
        differ: Number of groups in which a review has two different answers, right or wrong.
    """

    accuracy: Interval
    macro_f1: Interval
    only_a: int
    only_b: int
    differ: int


def compare(
    a: Predicted,
    b: Predicted,
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> ClassifierComparison:
    """Compare two classifiers; the order of the reviews does not matter.

    Args:
        a: Answers of the classifier that is compared with.
        b: Answers of the other one, on the same reviews.

    Raises:
        InputError: They do not have the same labels, reviews, true labels and groups.
    """
    a, b = pair_answers(a, b)
    columns = {}
    for who, rows in (("a", a), ("b", b)):
        for key, column_N in columns_of(rows).items():
            columns[(who, key)] = column_N

    boot = Bootstrap(
        columns.items(),
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        groups=a.groups_N,
    )
    named = formulas(a)
    accuracy, macro_f1 = (boot.interval(_difference(named[name])) for name in COMPARED)
    unlike_N = a.answers_N != b.answers_N
    differ_C = unlike_N
    if a.groups_N is not None:
        differ_C = np.bincount(a.groups_N, unlike_N)

    only_a = int((a.correct_N & ~b.correct_N).sum())
    only_b = int((b.correct_N & ~a.correct_N).sum())
    differ = int((differ_C > 0).sum())
    return ClassifierComparison(
        accuracy,
        macro_f1,
        only_a,
        only_b,
        differ,
    )


def chance_of_gain(
    a: Predicted,
    b: Predicted,
    *,
    resamples: int,
    seed: int,
) -> float:
    """Return the probability of at least this gain in macro-F1 of b over a if the two are equally good.

    Resampling never draws a difference that was not seen, so the bootstrap is too sure if a gain rests on a few reviews: of
    all, or of one rare label, which has the same weight in macro-F1 as a frequent one. This is exact there.

    Equally good means: in each group of reviews, either could have given the answers of the other. So exchange the
    answers of both in random groups, and count how often the gain is at least as large (randomisation test, Noreen
    1989; Yeh 2000). For up to `MOST_ENUMERATED` groups with different answers, use all exchanges: the result is exact.

    Args:
        a: Answers of the classifier that is compared with.
        b: Answers of the other one, on the same reviews.
        resamples: Number of random exchanges.
        seed: Equal seeds exchange equal groups.
    """
    a, b = pair_answers(a, b)
    ours_NS = _label_columns(b)
    theirs_NS = _label_columns(a)
    half_CS = _by_group((ours_NS - theirs_NS) / 2, a.groups_N)
    half_CS = half_CS[np.abs(half_CS).any(1)]
    middle_S = (ours_NS + theirs_NS).sum(0) / 2
    true_K = np.bincount(a.truth_N, minlength=len(a.labels))[:, None]

    def gain(moved_RS: np.ndarray) -> np.ndarray:
        one_RS = middle_S + moved_RS
        other_RS = middle_S - moved_RS
        ours_R, theirs_R = (
            mean_f1(true_K, *np.split(sums_RS.T, 2)) for sums_RS in (one_RS, other_RS)
        )
        return np.asarray(ours_R - theirs_R)

    seen = gain(half_CS.sum(0, keepdims=True))[0] - ROUNDING
    exact = len(half_CS) <= MOST_ENUMERATED
    if exact:
        signs = _all_signs(len(half_CS))
    else:
        signs = _random_signs(len(half_CS), resamples, seed)

    counts = [(int((gain(sign_RC @ half_CS) >= seen).sum()), len(sign_RC)) for sign_RC in signs]
    as_large, tried = (sum(column) for column in zip(*counts, strict=True))
    # The exchanges that were seen are one of them.
    return as_large / tried if exact else (as_large + 1) / (tried + 1)


def _label_columns(rows: Predicted) -> np.ndarray:
    """Return (N, 2K): whether a review is answered with each label, and whether this is right."""
    answered_NK = rows.answers_N[:, None] == np.arange(len(rows.labels))
    return np.hstack([answered_NK, answered_NK & rows.correct_N[:, None]]).astype(np.float64)


def _by_group(columns_NS: np.ndarray, groups_N: np.ndarray | None) -> np.ndarray:
    """Return the sums (C, S) of columns over each group; of more than `MAX_UNITS` groups, over sets of them."""
    number_N = np.arange(len(columns_NS))
    if groups_N is not None:
        number_N = groups_N

    sums_CS = np.zeros((min(int(number_N.max()) + 1, MAX_UNITS), columns_NS.shape[1]))
    np.add.at(sums_CS, number_N % MAX_UNITS, columns_NS)
    return sums_CS


def _all_signs(groups: int) -> Iterator[np.ndarray]:
    yield 1.0 - 2 * (np.arange(2**groups)[:, None] >> np.arange(groups) & 1)


def _random_signs(
    groups: int,
    resamples: int,
    seed: int,
) -> Iterator[np.ndarray]:
    """Yield (rows, C): 1 for a group that is left as it is, −1 for one whose answers are exchanged."""
    generator = np.random.default_rng(seed)
    at_once = max(1, DRAWS_AT_ONCE // groups)
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        yield 1.0 - 2 * generator.integers(0, 2, (rows, groups), np.int8)


def pair_answers(a: Predicted, b: Predicted) -> tuple[Predicted, Predicted]:
    """Return the answers of both in the order of the review ids.

    Raises:
        InputError: They do not have the same labels, reviews, true labels and groups.
    """
    if problem := mismatch(a, b):
        raise InputError(
            "The two classifiers cannot be compared",
            cause=problem,
            remedy="let both answer the same reviews",
        )
    return a.sort_by_review(), b.sort_by_review()


def mismatch(a: Predicted, b: Predicted) -> str:
    """Return why two classifiers cannot be compared review by review; empty if they can."""
    if a.labels != b.labels:
        return f"the labels differ: {', '.join(a.labels)}, and {', '.join(b.labels)}"

    a = a.sort_by_review()
    b = b.sort_by_review()
    if not a.review_ids.equals(b.review_ids):
        shared = int(a.review_ids.is_in(b.review_ids.implode()).sum())
        return f"the reviews differ: {len(a)} and {len(b)}, of which {shared} are the same"

    other_N = a.truth_N != b.truth_N
    if other_N.any():
        first = a.review_ids[int(other_N.argmax())]
        return f"the true labels of {int(other_N.sum())} reviews differ, first of review {first}"

    groupings = [
        np.arange(len(rows)) if rows.groups_N is None else rows.groups_N for rows in (a, b)
    ]
    if not np.array_equal(groupings[0], groupings[1]):
        return "the groups of dependent reviews differ"

    return ""


def _difference(formula: Formula) -> Formula:
    def of(sums: Mapping[Any, Any], who: str) -> Any:
        return formula({key[1]: column for key, column in sums.items() if key[0] == who})

    return lambda sums: of(sums, "b") - of(sums, "a")


def intervals(
    predicted: Predicted,
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> dict[Any, Interval]:
    """Return each figure with its percentile interval; equal seeds draw equal reviews.

    The order of the reviews does not matter.

    Args:
        predicted: Answers of the classifier.

    Returns:
        accuracy, macro_f1; log_loss, mean_absolute_error and quadratic_kappa if they apply; precision, recall and f1
        of each label under (figure, number of the label). The ends are NaN if there is no interval: one group only, or
        a figure that is not a number on all reviews or on more than 1 % of the draws.
    """
    rows = predicted.sort_by_review()
    boot = Bootstrap(
        columns_of(rows).items(),
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        groups=rows.groups_N,
    )
    return {name: boot.interval(formula) for name, formula in formulas(rows).items()}


def classifier_rows(
    answers: Mapping[str, Predicted],
    baseline: str,
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Return a row for each classifier, the highest macro-F1 first: its figures, and how it differs from a baseline.

    Args:
        answers: By name of classifier, all on the same reviews.
        baseline: The classifier that the others are compared with.

    Returns:
        name, groups (of reviews), the figures of `ClassifierFigures.to_dict`, each with its interval as `x_lo` and
        `x_hi`, those of each label in `per_label`. For all but the baseline also `gain_accuracy` and `gain_macro_f1`
        with their ends, and how many reviews only this classifier (alone_right) or the baseline answered right.
    """
    drawn: dict[str, Any] = {
        "confidence": confidence,
        "resamples": resamples,
        "seed": seed,
    }
    rows = []
    for name, predicted in answers.items():
        row: dict[str, Any] = {"name": name, **figures(predicted).to_dict()}
        for key, interval in intervals(predicted, **drawn).items():
            if isinstance(key, str):
                figure = key
                of = row
            else:
                figure = key[0]
                of = row["per_label"][key[1]]

            of |= interval.to_fields(figure)
            row["groups"] = interval.groups
        if name != baseline:
            pair = compare(answers[baseline], predicted, **drawn)
            row |= pair.accuracy.to_fields("gain_accuracy") | pair.macro_f1.to_fields(
                "gain_macro_f1"
            )
            row |= {"alone_right": pair.only_b, "baseline_alone_right": pair.only_a}
        rows.append(row)

    return sorted(rows, key=lambda row: (-(row["macro_f1"] or 0.0), row["name"]))
