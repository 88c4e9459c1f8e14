"""What a decision of the gate rests on: scores made now, and what was found out about both models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from core.lineage.family import NOT_KNOWN, Family
from models.adaptation import STATIC


@dataclass(frozen=True)
class Latency:
    """How long the registered model takes in a fresh process, in milliseconds.

    Args:
        p50: Median time of a suggestion of next words.
        p95: 95 % of the suggestions come within it.
        word: Of a written review, by word, on average.
    """

    p50: float
    p95: float
    word: float


@dataclass(frozen=True)
class ChampionReviews:
    """Scores of both models on the champion's own frozen test reviews, those of the data that it was trained on.

    Args:
        reviews: How many there are.
        learnt_ids: Left out because their id stands in the challenger's training or validation data.
        learnt_texts: Left out because their text does, under another id.
        same: Whether they are the challenger's test reviews: then nothing was scored twice.
        challenger: Rows of `evaluation.scoring.score.score_stream`; None where nothing was scored.
        champion: The same of the champion, on the same reviews.
        documents: What else is known of them: review_id and, where reviews belong together, `group`.
        problem: Why the two could not be scored on them; empty where they could.
    """

    reviews: int = 0
    learnt_ids: int = 0
    learnt_texts: int = 0
    same: bool = False
    challenger: pl.DataFrame | None = None
    champion: pl.DataFrame | None = None
    documents: pl.DataFrame | None = None
    problem: str = ""

    @property
    def left(self) -> int:
        """Reviews that the challenger has not learnt from."""
        return self.reviews - self.learnt_ids - self.learnt_texts


@dataclass(frozen=True)
class Evidence:
    """All that a decision rests on.

    Args:
        challenger: Rows of `evaluation.scoring.score.score_stream`, scored now.
        challenger_digest: Digest of the challenger's bundle.
        challenger_test: Digest of the test reviews that it was scored on.
        champion: The same of the champion; None where there is none yet.
        champion_digest: See above.
        champion_test: See above.
        champion_problem: Why the champion cannot be measured, its files being gone or damaged; empty where it can.
        family: The data that the challenger was trained on.
        champion_family: The same of the champion.
        champion_reviews: How both do on the champion's own test reviews; None where that was not measured.
        challenger_departure: Largest relative difference, over reviews, between the nats of `challenger` and those
            that the store has of the same bundle on the same tokens; None where the rows are the stored ones.
        champion_departure: The same of the champion.
        score_problem: Why the challenger could not be scored now; empty where it was.
        reviews: What else is known of the test reviews: review_id, date, categories where there are any, and `group`
            where reviews are not independent (`evaluation/statistics/groups.py`).
        grouped_by: What makes reviews one group, in words; empty where each review is its own.
        challenger_adaptation: "static", or how the challenger adapts to the text that it is scored on.
        champion_adaptation: The same of the champion.
        baseline: Rows of the baseline named in the configuration, on the same reviews.
        baseline_adaptation: "static", or how the baseline adapts to the text that it is scored on.
        baseline_name: Its name.
        baseline_digest: Digest of its bundle.
        checks_passed: Whether the data checks passed; None where they were not run.
        checks_detail: What they said.
        leak_free: Whether a certificate, verified now, says that no review of the test set stands in the training data,
            exactly or nearly; None where there is none.
        leak_detail: What it said, and what is known of the champion's training data.
        leak_test: Digest of the test reviews that it is of, to be compared with those that were scored.
        drift: Whether the newest reviews differ from those that the champion knows, or why that is not known.
        floor: What the test reviews cost the grammar that wrote them (`evaluation.statistics.floor.judged_reviews`);
            None where no grammar did.
        folds: Whether the challenger's vocabulary folds away a part of the text that its figures do not charge for.
        unfair: Why the challenger has an advantage that the figures do not charge for (it folds case where the
            champion does not, say); empty where it has none.
        champion_pays: Whether the champion's figures pay for all of the text. They do not, and are too good by that,
            where neither its vocabulary nor the run has a price for what it folds away.
        smoke_passed: Whether the registered model answered in a fresh process; None where it was not asked.
        smoke_detail: What it said.
        latency: How long it took; None where that was not measured.
        megabytes: Of the bundle's files, in millions of bytes.
        audit: Facts of the audit of what the challenger writes, see `tasks/evaluation/audit.py`; None where there was
            none.
        counts: Name of the n-gram model that the challenger is, or is made of among others; empty where it has none.
        passed_over: A sentence about each model of the run that is better on validation and was not tried.
        resamples: Draws of the bootstrap.
        seed: Of the bootstrap.
    """

    challenger: pl.DataFrame
    challenger_digest: str
    challenger_test: str
    champion: pl.DataFrame | None = None
    champion_digest: str | None = None
    champion_test: str | None = None
    champion_problem: str = ""
    family: Family = NOT_KNOWN
    champion_family: Family = NOT_KNOWN
    champion_reviews: ChampionReviews | None = None
    challenger_adaptation: str = STATIC
    champion_adaptation: str = STATIC
    challenger_departure: float | None = None
    champion_departure: float | None = None
    score_problem: str = ""
    reviews: pl.DataFrame | None = None
    grouped_by: str = ""
    baseline: pl.DataFrame | None = None
    baseline_adaptation: str = STATIC
    baseline_name: str = "baseline"
    baseline_digest: str | None = None
    checks_passed: bool | None = None
    checks_detail: str = ""
    leak_free: bool | None = None
    leak_detail: str = ""
    leak_test: str = ""
    drift: str = ""
    floor: pl.DataFrame | None = None
    folds: bool = False
    unfair: str = ""
    champion_pays: bool = True
    smoke_passed: bool | None = None
    smoke_detail: str = ""
    latency: Latency | None = None
    megabytes: float | None = None
    audit: Mapping[str, float] | None = None
    counts: str = ""
    passed_over: tuple[str, ...] = ()
    resamples: int = 10_000
    seed: int = 1

    @property
    def challenger_named(self) -> str:
        """The name that the challenger's figures stand under."""
        return _named("challenger", self.challenger_adaptation)

    @property
    def champion_named(self) -> str:
        """The name that the champion's figures stand under."""
        return _named("champion", self.champion_adaptation)

    @property
    def other_adaptation(self) -> str:
        """What has to be said where one of the two adapts and the other does not, or otherwise; else empty."""
        if self.champion_digest is None or self.challenger_adaptation == self.champion_adaptation:
            return ""
        return f"the challenger's figures are {self.challenger_adaptation}, the champion's {self.champion_adaptation}"


def _named(who: str, adaptation: str) -> str:
    return who if adaptation == STATIC else f"{who} ({adaptation})"


def departure(now: pl.DataFrame, stored: pl.DataFrame) -> float:
    """Return by how much two scorings of one bundle on the same reviews differ at most, relative to a review's nats.

    Infinite where they are not of the same reviews, or where only one of them calls a review impossible.
    """
    both = now.select("review_id", "nats").join(
        stored.select("review_id", "nats"), on="review_id", how="full", suffix="_stored"
    )
    ours_D, theirs_D = both["nats"].to_numpy(), both["nats_stored"].to_numpy()  # null becomes NaN
    same_D = ours_D == theirs_D  # infinite ones too
    with np.errstate(invalid="ignore", divide="ignore"):
        apart_D = np.where(same_D, 0.0, np.abs(ours_D - theirs_D) / np.maximum(np.abs(theirs_D), 1e-9))
    return float(np.max(np.nan_to_num(apart_D, nan=np.inf, posinf=np.inf), initial=0.0))
