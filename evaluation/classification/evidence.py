"""Hold the evidence of a gate decision about classifiers: answers of all of them, and facts about data and service."""

from __future__ import annotations

from dataclasses import dataclass, replace

from core.lineage.family import NOT_KNOWN, Family
from evaluation.classification.predicted import Predicted
from evaluation.gate.evidence import GateEvidence


@dataclass(frozen=True)
class AnsweredReviews:
    """Answers of one classifier on the test reviews, and facts about the classifier.

    Args:
        digest: Digest of its bundle.
        predicted: Its answers, of this bundle to these reviews: given in this run, or in an earlier one and read from
            the store, which checks its files; None if it could not answer.
        test: Digest of the test reviews that it answered.
        problem: Why it could not answer (its files are missing or damaged); empty if it could.
        name: Name of the classifier.
        family: Family of the data that it was made from.
        labels: Its labels, if they are known although there are no answers.
    """

    digest: str
    predicted: Predicted | None = None
    test: str = ""
    problem: str = ""
    name: str = ""
    family: Family = NOT_KNOWN
    labels: tuple[str, ...] = ()

    def sorted(self) -> AnsweredReviews:
        """Return the same evidence with the answers in the order of the review ids."""
        return self if self.predicted is None else replace(self, predicted=self.predicted.sorted())


@dataclass(frozen=True)
class ClassifierEvidence(GateEvidence[Predicted]):
    """All facts that the gate decides by.

    Args:
        challenger: The classifier that may become champion.
        champion: The registered champion; None if there is none yet.
        baseline: The simple classifier named in the configuration; None if there is none.
        data: Facts about the data; `data.reviews` has review_id and, as far as they are known, words, date and
            categories. Groups of dependent reviews are those of the answers; `data.grouped_by` describes them.
    """

    challenger: AnsweredReviews
    champion: AnsweredReviews | None = None
    baseline: AnsweredReviews | None = None
