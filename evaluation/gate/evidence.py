"""Hold the evidence of a gate decision: current scores of both models, and facts about them and their data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, TypeVar

import numpy as np
import polars as pl

from reviewlm.core.lineage import NOT_KNOWN, Family
from reviewlm.models.base import STATIC

Measured = TypeVar("Measured", bound=Sized)
"""Scores or answers of a model."""


@dataclass(frozen=True)
class Latency:
    """Latency of the registered model in a fresh process, in milliseconds.

    Args:
        p50: Median time of an answer: a suggestion of next words, or the label of a text.
        p95: 95 % of the answers take at most this time.
        word: Mean time per word of a written review; None for models that write none.
    """

    p50: float
    p95: float
    word: float | None = None


@dataclass(frozen=True)
class ChampionReviews(Generic[Measured]):
    """The results of both models on the champion's own frozen test reviews, from the data of its training.

    Args:
        reviews: Number of these reviews.
        learnt_ids: Reviews left out because their id is in the challenger's training or validation data.
        learnt_texts: Reviews left out because their text is in that data under another id.
        same: Whether they are the challenger's test reviews: then they were not scored a second time.
        challenger: Rows of the challenger, as in `ModelEvidence`; None if no review was left.
        champion: The same of the champion, on the same reviews.
        documents: Further facts about them: review_id and, if reviews are not independent, `group`.
        problem: Why the two models could not be scored on them; empty if they could.
    """

    reviews: int = 0
    learnt_ids: int = 0
    learnt_texts: int = 0
    same: bool = False
    challenger: Measured | None = None
    champion: Measured | None = None
    documents: pl.DataFrame | None = None
    problem: str = ""

    @property
    def left(self) -> int:
        """Number of reviews that the challenger has not learnt from."""
        return self.reviews - self.learnt_ids - self.learnt_texts

    @property
    def tried(self) -> int:
        """Number of reviews that both models were tried on."""
        if self.champion is None:
            return 0
        return len(self.champion)


@dataclass(frozen=True)
class ModelEvidence(Generic[Measured]):
    """The results of a model on the test reviews, and facts about the model.

    Args:
        digest: Digest of its bundle.
        rows: Of a language model, rows of `evaluation.scoring.score.score_stream`; of a classifier, its answers
            (`reviewlm.evaluation.classification.answers.Predicted`); None if the model cannot be measured.
        test: Digest of the test reviews that it was measured on.
        problem: Why it could not be measured in this run (its files are missing or damaged); empty if it could.
        family: Family of the data that it was made from.
        departure: Largest relative difference, over reviews, between the nats of `rows` and those that the store has of
            the same bundle on the same tokens; None if the rows are the stored ones.
        adaptation: "static", or how the model adapts to the text that it is measured on.
        name: Name of the model.
        labels: Labels of a classifier, if they are known although there are no answers.
        at: Time of scoring, in UTC.
    """

    digest: str = ""
    rows: Measured | None = None
    test: str = ""
    problem: str = ""
    family: Family = NOT_KNOWN
    departure: float | None = None
    adaptation: str = STATIC
    name: str = ""
    labels: tuple[str, ...] = ()
    at: str = field(
        default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"), compare=False
    )

    @property
    def adapting(self) -> str:
        """The kind of adaptation, in brackets after the model's name; empty for a static model."""
        return "" if self.adaptation == STATIC else f" ({self.adaptation})"


@dataclass(frozen=True)
class Leaks:
    """Result of the leak certificate of the prepared data, and of the search in the data behind start weights.

    Args:
        free: Whether a leak certificate, verified for this decision, says that no review of the test set is in the
            training data, neither exactly nor as a near-duplicate, nor covered by its passages; None if there is no
            certificate. Whether none was a training review of earlier data that start weights have learnt from.
        detail: Message of the certificate, and facts about the champion's training data.
        test: Digest of the test reviews that the certificate covers; it is compared with the scored ones.
    """

    free: bool | None = None
    detail: str = ""
    test: str = ""


@dataclass(frozen=True)
class Evidence(Generic[Measured]):
    """All facts that a decision about models of any family uses.

    Args:
        challenger: The model that may become champion; its rows are never None.
        champion: The registered champion; None if there is none yet.
        baseline: The baseline named in the configuration, on the same reviews; None if there is none.
        reviews: Further facts about the test reviews: review_id, date and categories if there are any, and `group` if
            reviews are not independent (`evaluation/statistics/groups.py`).
        grouped_by: Description of the reason why reviews are one group; empty if each review is a separate group.
        checks_passed: Whether the data checks passed; None if they were not run.
        checks_detail: Message of the data checks.
        leaks: Result of the leak certificate.
        drift: Whether the newest reviews differ from those that the champion was trained on, or why that is unknown.
        floor: The grammar's nats of the test reviews (`evaluation.statistics.floor.JUDGED`); None if they were
            not written by the grammar.
        smoke_passed: Whether the registered challenger answered in a fresh process; None if this was not tested.
        smoke_detail: Message of the smoke test.
        latency: Latency of the registered challenger; None if it was not measured.
        megabytes: Size of its bundle's files, in millions of bytes.
        champion_learnt: Ids of the test reviews that the champion was trained on (another split of its time).
        champion_reviews: What both models did on the champion's own test reviews; None if that was not measured.
        rolled_back: Who rolled back from a version of the challenger's fit, when and why; empty if nobody did.
        passed_over: One sentence about each model of the run that is better on validation and was not tried.
        unfair_because: Why the challenger has an advantage that the figures do not include (the section `clean` has
            changed); empty if it has none.
        audit: Facts of the audit of the challenger's generated reviews; None if there was no audit.
        single_review_model: Name of the n-gram model, the challenger or a part of it, that holds n-grams of a single review;
            empty if there is none.
        resamples: Number of bootstrap draws.
        seed: Seed of the bootstrap.
    """

    challenger: ModelEvidence[Measured]
    champion: ModelEvidence[Measured] | None = None
    baseline: ModelEvidence[Measured] | None = None
    reviews: pl.DataFrame | None = None
    grouped_by: str = ""
    checks_passed: bool | None = None
    checks_detail: str = ""
    leaks: Leaks = Leaks()
    drift: str = ""
    floor: pl.DataFrame | None = None
    smoke_passed: bool | None = None
    smoke_detail: str = ""
    latency: Latency | None = None
    megabytes: float | None = None
    champion_learnt: Sequence[str] = ()
    champion_reviews: ChampionReviews[Measured] | None = None
    rolled_back: str = ""
    passed_over: tuple[str, ...] = ()
    unfair_because: str = ""
    audit: Mapping[str, float] | None = None
    single_review_model: str = ""
    resamples: int = 10_000
    seed: int = 1

    @property
    def other_adaptation(self) -> str:
        """Remark for the case that the two models adapt in different ways; empty if they adapt in the same way."""
        ours = self.challenger
        theirs = self.champion
        if theirs is None or ours.adaptation == theirs.adaptation:
            return ""
        return f"the challenger's figures are {ours.adaptation}, the champion's {theirs.adaptation}"


def departure(now: pl.DataFrame, stored: pl.DataFrame) -> float:
    """Return the largest relative difference in a review's nats between two scorings of one bundle.

    Infinite if they are not of the same reviews, or if only one of them gives a review probability 0.
    """
    both = now.select("review_id", "nats").join(
        stored.select("review_id", "nats"),
        on="review_id",
        how="full",
        suffix="_stored",
    )
    ours_D = both["nats"].to_numpy()
    theirs_D = both["nats_stored"].to_numpy()  # null becomes NaN
    same_D = ours_D == theirs_D  # also true if both are infinite
    with np.errstate(invalid="ignore", divide="ignore"):
        apart_D = np.where(
            same_D, 0.0, np.abs(ours_D - theirs_D) / np.maximum(np.abs(theirs_D), 1e-9)
        )

    return float(np.max(np.nan_to_num(apart_D, nan=np.inf, posinf=np.inf), initial=0.0))
