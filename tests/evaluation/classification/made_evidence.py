"""Evidence of the classifiers' gate: made-up answers of a challenger that passes every rule."""

from dataclasses import replace

import numpy as np
import polars as pl

from core.config.sections.classification import ClassificationPromotion
from core.lineage.record import Family
from evaluation.gate.classification import ClassifierCase
from evaluation.gate.evidence import (
    ChampionReviews,
    DataEvidence,
    Evidence,
    Latency,
    Leaks,
    ModelEvidence,
    ServingEvidence,
)
from tests.evaluation.classification.made_answers import drawn, predicted

REVIEWS = 600
WORDS = 20 + np.arange(REVIEWS) % 97
DOCUMENTS = pl.DataFrame({"review_id": [f"r{row:04d}" for row in range(REVIEWS)], "words": WORDS})
decide = ClassifierCase.judge
POLICY = ClassificationPromotion(max_latency_ms=100, max_megabytes=50)
BETTER, WORSE, SIMPLE = drawn(REVIEWS, 0.75, seed=1), drawn(REVIEWS, 0.6, seed=2), drawn(REVIEWS, 0.45, seed=3)
DATA = DataEvidence(reviews=DOCUMENTS, checks_passed=True, leaks=Leaks(True, "no leak", "test1"))
SERVING = ServingEvidence(True, "it answered", Latency(3.0, 9.0), megabytes=12.0)
YELP = Family("yelp")
EVIDENCE = Evidence(
    ModelEvidence("new", BETTER, "test1", name="lstm", family=YELP),
    ModelEvidence("old", WORSE, "test1", name="bag", family=YELP),
    ModelEvidence("base", SIMPLE, "test1", name="logistic"),
    data=DATA, serving=SERVING, champion_reviews=ChampionReviews(same=True), resamples=500,
)  # fmt: skip


def changed(found, who, **changes):
    return replace(found, **{who: replace(getattr(found, who), **changes)})


def answering(**answers):
    """Evidence of other answers of challenger, champion or baseline."""
    found = EVIDENCE
    for who, rows in answers.items():
        found = changed(found, who, rows=rows)
    return found


def with_answers(found, rows, answers):
    changed_N = found.answers_N.copy()
    changed_N[rows] = answers
    return predicted(found.truth_N, changed_N, found.labels, groups=found.groups_N)


def on_champions_reviews(right, reviews=REVIEWS, seed=4, left_out=(0, 0), **changes):
    """Answers of both on reviews of the champion's data; the champion is right on 75 %, the challenger on *right*."""
    theirs, ours = drawn(reviews, 0.75, seed=1), drawn(reviews, right, seed=seed)
    found = {"challenger": ours, "champion": theirs, **changes}
    return replace(EVIDENCE, champion_reviews=ChampionReviews(reviews + sum(left_out), *left_out, **found))


def failed(decision):
    return [rule.name for rule in decision.rules if rule.passed is False]


def rule(decision, name):
    return next(rule for rule in decision.rules if rule.name == name)
