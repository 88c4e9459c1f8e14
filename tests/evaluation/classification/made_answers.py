"""Answers of made-up classifiers."""

from dataclasses import replace

import numpy as np
import polars as pl

from reviewlm.core.config.sections.other_models import ClassificationPromotion
from reviewlm.core.lineage import Family
from reviewlm.evaluation.classification.answers import Predicted
from reviewlm.evaluation.classification.compare import classifier_rows
from reviewlm.evaluation.classification.report import ClassificationResults
from reviewlm.evaluation.classification.slices import accuracy_by_slice
from reviewlm.evaluation.gate.classification import ClassifierCase
from reviewlm.evaluation.gate.evidence import (
    ChampionReviews,
    Evidence,
    Latency,
    Leaks,
    ModelEvidence,
)

STARS = ("1", "2", "3", "4", "5")


def predicted(
    truth,
    answers,
    labels=STARS,
    probabilities=None,
    groups=None,
    ids=None,
):
    """Answers on reviews with the ids r0000, r0001 …; numbers of labels, not their names."""
    ids = [f"r{row:04d}" for row in range(len(truth))] if ids is None else ids
    groups = None if groups is None else np.asarray(groups)
    return Predicted(
        labels,
        np.asarray(truth),
        np.asarray(answers),
        probabilities,
        ids,
        groups,
    )


def drawn(
    reviews=400,
    right=0.7,
    seed=1,
    labels=STARS,
    groups=None,
    probable=True,
):
    """Stars with unequal shares, answered right on about a share of the reviews, otherwise one star off.

    Reviews of equal numbers have equal true labels whatever the seed is. The probabilities are those of this process.
    """
    count = len(labels)
    truth = np.random.default_rng(0).choice(
        count, reviews, p=np.arange(1, count + 1) / (count * (count + 1) / 2)
    )
    random = np.random.default_rng(seed)
    beside = np.clip(truth + random.choice([-1, 1], reviews), 0, count - 1)
    beside = np.where(beside == truth, (truth + 1) % count, beside)
    answers = np.where(random.random(reviews) < right, truth, beside)
    table = np.full((reviews, count), (1 - right) / (count - 1))
    table[np.arange(reviews), answers] = right
    return predicted(
        truth,
        answers,
        labels,
        table if probable else None,
        groups,
    )


# --- Evidence of the classifiers' gate: made-up answers of a challenger that passes every rule

REVIEWS = 600
WORDS = 20 + np.arange(REVIEWS) % 97
DOCUMENTS = pl.DataFrame({"review_id": [f"r{row:04d}" for row in range(REVIEWS)], "words": WORDS})
decide = ClassifierCase.judge
POLICY = ClassificationPromotion(max_latency_ms=100, max_megabytes=50)
BETTER, WORSE, SIMPLE = (
    drawn(REVIEWS, 0.75, seed=1),
    drawn(REVIEWS, 0.6, seed=2),
    drawn(REVIEWS, 0.45, seed=3),
)
SOUND = {
    "reviews": DOCUMENTS,
    "checks_passed": True,
    "leaks": Leaks(True, "no leak", "test1"),
    "smoke_passed": True,
    "latency": Latency(3.0, 9.0),
    "megabytes": 12.0,
}
YELP = Family("yelp")
EVIDENCE = Evidence(
    ModelEvidence(
        "new",
        BETTER,
        "test1",
        name="lstm",
        family=YELP,
    ),
    ModelEvidence(
        "old",
        WORSE,
        "test1",
        name="bag",
        family=YELP,
    ),
    ModelEvidence("base", SIMPLE, "test1", name="logistic"),
    champion_reviews=ChampionReviews(same=True),
    resamples=500,
    **SOUND,
)


def changed(found, who, **changes):
    return replace(found, **{who: replace(getattr(found, who), **changes)})


def answering(**answers):
    """Evidence of other answers of challenger, champion or baseline."""
    found = EVIDENCE
    for who, rows in answers.items():
        found = changed(found, who, rows=rows)
    return found


def with_answers(
    found,
    rows,
    answers,
):
    changed_N = found.answers_N.copy()
    changed_N[rows] = answers
    return predicted(found.truth_N, changed_N, found.labels, groups=found.groups_N)


def on_champions_reviews(
    right,
    reviews=REVIEWS,
    seed=4,
    left_out=(0, 0),
    **changes,
):
    """Answers of both on reviews of the champion's data; the champion is right on 75 %, the challenger on *right*."""
    theirs, ours = drawn(reviews, 0.75, seed=1), drawn(reviews, right, seed=seed)
    found = {
        "challenger": ours,
        "champion": theirs,
        **changes,
    }
    return replace(
        EVIDENCE, champion_reviews=ChampionReviews(reviews + sum(left_out), *left_out, **found)
    )


def failed(decision):
    return [rule.name for rule in decision.rules if rule.passed is False]


def rule(decision, name):
    return next(rule for rule in decision.rules if rule.name == name)


# --- Results of made-up classifiers of stars, for the report

HOSTILE = "<script>alert('five stars')</script> & \"quotes\" \u202ereversed"


def stars(
    sharpness,
    seed,
    overconfident=1.0,
):
    """Answers from a normal density around a noisy reading of the stars; all classifiers have the same reviews."""
    truth = np.random.default_rng(0).choice(5, REVIEWS, p=[0.14, 0.08, 0.11, 0.22, 0.45])
    heard = truth + np.random.default_rng(seed).normal(0, sharpness, REVIEWS)
    scores = -((heard[:, None] - np.arange(5)) ** 2) / (2 * sharpness**2) * overconfident
    table = np.exp(scores - scores.max(1, keepdims=True))
    return predicted(truth, scores.argmax(1), STARS, table / table.sum(1, keepdims=True))


def made_classification(**changes):
    """Four classifiers, one without probabilities; `lstm` is challenger, `bag` champion, `logistic` the baseline."""
    answers = {
        "lstm": stars(0.55, 1, 2.0),
        "logistic": stars(0.95, 2),
        "bag": stars(0.85, 3),
    }
    margins = stars(0.7, 4)
    answers["svm"] = predicted(margins.truth_N, margins.answers_N, STARS)
    ids = answers["lstm"].review_ids
    random = np.random.default_rng(7)
    documents = pl.DataFrame(
        {
            "review_id": ids,
            "words": random.integers(10, 300, REVIEWS),
            "categories": random.choice(["Food, Bars", "Nails", "Food, Pizza"], REVIEWS),
            "date": pl.Series(random.integers(2017, 2020, REVIEWS))
            .cast(pl.String)
            .str.to_datetime("%Y"),
        }
    )
    wrong = np.flatnonzero(~answers["lstm"].correct_N)
    texts = {
        review: f"The tacos were fine, the service was slow. Review {review}." for review in ids
    }
    worst = min(
        wrong, key=lambda row: answers["lstm"].probabilities_NK[row, answers["lstm"].truth_N[row]]
    )
    texts[ids[int(worst)]] = HOSTILE
    shown = {name: answers[name] for name in ("lstm", "logistic")}
    values = {
        "rows": classifier_rows(
            answers,
            "logistic",
            confidence=0.95,
            resamples=500,
            seed=1,
        ),
        "answers": answers,
        "winner": "lstm",
        "baseline": "logistic",
        "texts": texts,
        "decision": decision(answers),
        "slices": accuracy_by_slice(shown, documents, min_reviews=30, confidence=0.95),
        "costs": {name: {"kind": name, "MB": 1.5 * place} for place, name in enumerate(answers)},
        "run": {"run": "made", "data": "synthetic"},
        "data": {"test reviews": REVIEWS},
    }
    return ClassificationResults(**{**values, **changes})


def decision(answers):
    sides = {
        who: ModelEvidence(
            name,
            answers[name],
            "test1",
            name=name,
            family=Family("yelp"),
        )
        for who, name in (("challenger", "lstm"), ("champion", "bag"), ("baseline", "logistic"))
    }
    evidence = Evidence(
        **sides,
        champion_reviews=ChampionReviews(same=True),
        resamples=500,
        **SOUND,
    )
    return ClassifierCase.judge(ClassificationPromotion(), evidence)
