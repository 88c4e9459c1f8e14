"""Results of made-up classifiers of stars, for the report."""

import numpy as np
import polars as pl

from core.config.sections.classification import ClassificationPromotion
from core.lineage.record import Family
from evaluation.classification.results import ClassificationResults, ClassifierResults
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
from tests.evaluation.classification.made_answers import STARS, predicted

REVIEWS = 600
HOSTILE = "<script>alert('five stars')</script> & \"quotes\" \u202ereversed"
KINDS = {"lstm": "lstm", "logistic": "logistic", "bag": "bag", "svm": "lstm"}


def stars(sharpness, seed, overconfident=1.0):
    """Answers from a normal density around a noisy reading of the stars; all classifiers have the same reviews."""
    truth = np.random.default_rng(0).choice(5, REVIEWS, p=[0.14, 0.08, 0.11, 0.22, 0.45])
    heard = truth + np.random.default_rng(seed).normal(0, sharpness, REVIEWS)
    scores = -((heard[:, None] - np.arange(5)) ** 2) / (2 * sharpness**2) * overconfident
    table = np.exp(scores - scores.max(1, keepdims=True))
    return predicted(truth, scores.argmax(1), STARS, table / table.sum(1, keepdims=True))


def made_classification(**changes):
    """Four classifiers, one without probabilities; `lstm` is challenger, `bag` champion, `logistic` the baseline."""
    answers = {"lstm": stars(0.55, 1, 2.0), "logistic": stars(0.95, 2), "bag": stars(0.85, 3)}
    margins = stars(0.7, 4)
    answers["svm"] = predicted(margins.truth_N, margins.answers_N, STARS)
    ids = answers["lstm"].review_ids
    random = np.random.default_rng(7)
    documents = pl.DataFrame({
        "review_id": ids, "words": random.integers(10, 300, REVIEWS),
        "categories": random.choice(["Food, Bars", "Nails", "Food, Pizza"], REVIEWS),
        "date": pl.Series(random.integers(2017, 2020, REVIEWS)).cast(pl.String).str.to_datetime("%Y"),
    })  # fmt: skip
    wrong = np.flatnonzero(~answers["lstm"].correct_N)
    texts = {review: f"The tacos were fine, the service was slow. Review {review}." for review in ids}
    worst = min(wrong, key=lambda row: answers["lstm"].probabilities_NK[row, answers["lstm"].truth_N[row]])
    texts[ids[int(worst)]] = HOSTILE
    values = {
        "classifiers": [
            ClassifierResults(name, found, KINDS[name], {"parameters": 10_000 * place, "MB": 1.5 * place})
            for place, (name, found) in enumerate(answers.items(), 1)
        ],
        "winner": "lstm", "baseline": "logistic", "texts": texts, "documents": documents, "decision": decision(answers),
        "run": {"run": "made", "data": "synthetic"}, "data": {"test reviews": REVIEWS}, "resamples": 500,
    }  # fmt: skip
    return ClassificationResults(**{**values, **changes})


def decision(answers):
    sides = {who: ModelEvidence(name, answers[name], "test1", name=name, family=Family("yelp"))
             for who, name in (("challenger", "lstm"), ("champion", "bag"), ("baseline", "logistic"))}  # fmt: skip
    data = DataEvidence(checks_passed=True, leaks=Leaks(True, "no leak", "test1"))
    serving = ServingEvidence(True, "it answered", Latency(2.0, 4.0), 1.5)
    own = ChampionReviews(same=True)
    evidence = Evidence(**sides, data=data, serving=serving, champion_reviews=own, resamples=500)
    return ClassifierCase.judge(ClassificationPromotion(), evidence)
