"""Hold the results of several classifiers on the same test reviews, and what their report computes from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from core.errors import InputError
from evaluation.classification.compare import ClassifierComparison, accuracy_by_slice, compare, intervals, mismatch
from evaluation.classification.figures import ClassifierFigures, Predicted, figures
from evaluation.gate.decision import Decision
from evaluation.statistics.bootstrap import Interval


@dataclass(frozen=True)
class ClassifierResults:
    """Results of one classifier.

    Args:
        name: Its name in tables.
        predicted: Its answers on the test reviews.
        kind: "logistic", "lstm" …
        costs: Size and time by name, such as "parameters"; numbers or texts.
    """

    name: str
    predicted: Predicted
    kind: str = ""
    costs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ClassificationResults:
    """Results of the classifiers of a run.

    Args:
        classifiers: All of the same test reviews.
        winner: Name of the challenger: the classifier that was best on the validation reviews.
        baseline: Name of the classifier that the others are compared with; "" if there is none.
        texts: Text of the test reviews by id, for those that may be shown; empty if none may.
        documents: Facts about the reviews for slices (`evaluation.classification.compare.label_slicings`).
        decision: Decision of the gate; None if the gate was not run.
        run: Facts about the run, by name, for the first lines.
        data: Facts about the data, by name.
        links: Addresses by name.
        min_slice_reviews: Minimum number of reviews in a slice.
        confidence: Confidence of the intervals.
        resamples: Number of bootstrap draws.
        seed: Seed of the bootstrap.
        source: The data in a few words, for the title.
        name: Name of the registered model.
        version: Registered version of the winner; None if none was registered.

    Raises:
        InputError: There is no classifier, a name is unknown, or the classifiers answered different reviews.
    """

    classifiers: Sequence[ClassifierResults]
    winner: str
    baseline: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)
    documents: pl.DataFrame | None = None
    decision: Decision | None = None
    run: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    min_slice_reviews: int = 30
    confidence: float = 0.95
    resamples: int = 10_000
    seed: int = 1
    source: str = ""
    name: str = ""
    version: int | None = None

    def __post_init__(self) -> None:
        names = [one.name for one in self.classifiers]
        for where, name in (("winner", self.winner), ("baseline", self.baseline or self.winner)):
            if name not in names:
                raise InputError("There are no results of this classifier", where=where, value=name,
                                 remedy=f"use one of: {', '.join(names) or 'none'}")  # fmt: skip
        for one in self.classifiers[1:]:
            if why := mismatch(self.classifiers[0].predicted, one.predicted):
                raise InputError(f"The results of '{one.name}' are not of the same reviews", where="classifiers",
                                 cause=why)  # fmt: skip

    @cached_property
    def figures(self) -> dict[str, ClassifierFigures]:
        """Figures by classifier, the highest macro-F1 first."""
        measured = {one.name: figures(one.predicted) for one in self.classifiers}
        return dict(sorted(measured.items(), key=lambda pair: (-pair[1].macro_f1, pair[0])))

    @cached_property
    def intervals(self) -> dict[str, dict[Any, Interval]]:
        """Intervals by classifier, in the order of `figures`."""
        return {name: intervals(self.of(name).predicted, **self._drawn) for name in self.figures}

    @cached_property
    def comparisons(self) -> dict[str, ClassifierComparison]:
        """Comparison of the baseline (a) with each other classifier (b); empty without a baseline."""
        if not self.baseline:
            return {}
        base = self.of(self.baseline).predicted
        return {name: compare(base, self.of(name).predicted, **self._drawn)
                for name in self.figures if name != self.baseline}  # fmt: skip

    @cached_property
    def majority(self) -> ClassifierFigures:
        """Figures of always answering the most frequent label of the test reviews."""
        first = self.classifiers[0].predicted
        number = first.labels.index(next(iter(self.figures.values())).majority_label)
        answers_N = np.full(len(first), number)
        return figures(replace(first, answers_N=answers_N, probabilities_NK=None))

    @cached_property
    def slices(self) -> pl.DataFrame:
        """Accuracy by slice of the winner and the baseline (`evaluation.classification.compare.ACCURACIES`)."""
        named = dict.fromkeys(filter(None, (self.winner, self.baseline)))
        shown = {name: self.of(name).predicted for name in named}
        return accuracy_by_slice(
            shown, self.documents, min_reviews=self.min_slice_reviews, confidence=self.confidence
        )

    def of(self, name: str) -> ClassifierResults:
        """Return the results of a classifier."""
        return next(one for one in self.classifiers if one.name == name)

    def worst_errors(self, count: int) -> list[int]:
        """Return the rows of the winner's wrong answers with a known text that cost most, the worst first.

        The cost is −log p(true label). Without probabilities, it is the distance of answer and truth if the labels are
        numbers; otherwise all wrong answers cost the same.
        """
        rows = self.of(self.winner).predicted
        cost_N, values_K = rows.loss_N, rows.values_K
        if cost_N is None and values_K is not None:
            cost_N = np.abs(values_K[rows.answers_N] - values_K[rows.truth_N])
        mistakes = [row for row in np.flatnonzero(~rows.correct_N).tolist() if rows.review_ids[row] in self.texts]
        worth = np.zeros(len(rows)) if cost_N is None else np.nan_to_num(cost_N, nan=np.inf)
        return sorted(mistakes, key=lambda row: (-worth[row], rows.review_ids[row]))[:count]

    @property
    def _drawn(self) -> dict[str, Any]:
        return {"confidence": self.confidence, "resamples": self.resamples, "seed": self.seed}
