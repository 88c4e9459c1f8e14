"""The gate where a gain rests on a few reviews of a rare label, which macro-F1 weighs as any other."""

from dataclasses import replace

import numpy as np
import pytest

from evaluation.gate.classification import ClassifierCase
from evaluation.gate.rules import better_than_champion
from tests.evaluation.classification.made_answers import STARS, predicted
from tests.evaluation.classification.made_evidence import POLICY, REVIEWS, answering, decide, rule


def test_a_gain_that_rests_on_a_few_reviews_of_a_rare_label_is_refused_whatever_else_differs():
    """Five labels of 100 reviews, a sixth of four, which only the challenger finds; other answers differ in balance.

    The interval is sure: hardly a sample has none of the four. But four coins fall alike in 6 % of the cases.
    """
    truth = np.r_[np.repeat(np.arange(5), 100), np.full(4, 5)]
    champion, challenger = truth.copy(), truth.copy()
    champion[-4:] = 0
    for label in range(5):  # twelve of each label are wrong, six by each: a tie
        first = 100 * label + np.arange(12)
        champion[first[:6]], challenger[first[6:]] = (label + 1) % 5, (label + 1) % 5
    labels = (*STARS, "none")
    sides = {"challenger": challenger, "champion": champion, "baseline": (truth + np.arange(504) % 3) % 5}
    found = answering(**{who: predicted(truth, answers, labels) for who, answers in sides.items()})
    decision = decide(POLICY, replace(found, resamples=2_000))
    outcome = rule(decision, "better than the champion")
    assert outcome.value > 0.05, "the lower end of the interval"
    assert outcome.passed is False
    assert "their answers differ on 64 reviews" in outcome.detail


@pytest.mark.long
@pytest.mark.parametrize("reviews", [3, 5, 8])
@pytest.mark.parametrize("answered", [0.0, 0.01], ids=["only there", "elsewhere too"])
def test_an_equal_classifier_with_luck_at_a_rare_label_is_promoted_no_more_often_than_stated(reviews, answered):
    """A fifth label has so few reviews, and each classifier finds each of them by a coin; else they differ on 4 %.

    Of 600 pairs 2.5 % is 15, give or take 3.8. By the interval alone about 5 % pass, which is 30.
    """
    random, passed, alone = np.random.default_rng(100 * reviews + round(1_000 * answered)), 0, 0
    for seed in range(600):
        truth = np.r_[np.full(reviews, 4), random.choice(4, REVIEWS - reviews, p=[0.1, 0.2, 0.3, 0.4])]
        rare = truth == 4
        base = np.where(random.random(REVIEWS) < 0.75, truth, (truth + random.integers(1, 4, REVIEWS)) % 4)
        sides = []
        for _ in range(2):
            again = random.random(REVIEWS) < 0.02
            found = np.where(random.random(REVIEWS) < 0.75, truth, (truth + random.integers(1, 4, REVIEWS)) % 4)
            answers = np.where(again, found, base)
            answers = np.where(~rare & (random.random(REVIEWS) < answered), 4, answers)
            sides.append(predicted(truth, np.where(rare, random.choice([0, 4], REVIEWS), answers)))
        case = replace(answering(champion=sides[0], challenger=sides[1]), seed=seed, resamples=400)
        outcome = better_than_champion(ClassifierCase.of(POLICY, case))
        passed, alone = passed + outcome.passed, alone + (outcome.value > 0)
    assert passed <= 15 + 2.5 * 3.8
    assert passed < alone
