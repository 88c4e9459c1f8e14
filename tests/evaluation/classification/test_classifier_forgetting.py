"""The gate on a champion of other reviews: what the challenger loses on the champion's own test reviews."""

from dataclasses import replace

import numpy as np
import pytest

from evaluation.gate.evidence import ChampionReviews
from tests.evaluation.classification.made_answers import drawn, predicted
from tests.evaluation.classification.made_evidence import (
    EVIDENCE,
    POLICY,
    REVIEWS,
    decide,
    failed,
    on_champions_reviews,
    rule,
    with_answers,
)

FORGETFUL = on_champions_reviews(0.5)


def test_better_on_its_own_reviews_and_worse_on_the_champions_is_refused():
    decision = decide(POLICY, FORGETFUL)
    outcome = rule(decision, "no forgetting")
    assert outcome.limit == 0.01
    assert 0.1 < outcome.value < decision.figures["champion's reviews, loss"]
    assert "on 600 of the champion's own 600 test reviews: macro-F1 -" in decision.reason
    assert set(decision.champion_reviews) == {"challenger_scores", "champion_scores"}


def test_the_loss_on_the_champions_reviews_is_the_difference_of_macro_f1():
    """Two labels of 100 reviews. The champion is right on all of the first 80 and of the second 60.

    F1 is 160 / (100 + 120) and 120 / (100 + 80). The challenger is right on 50 each: F1 1/2 and 1/2.
    """
    truth, labels = np.repeat([0, 1], 100), ("1", "2")
    theirs = np.where(np.r_[np.arange(100) < 80, np.arange(100) < 60], truth, 1 - truth)
    ours = np.where(np.tile(np.arange(100) < 50, 2), truth, 1 - truth)
    found = on_champions_reviews(0, 200, challenger=predicted(truth, ours, labels),
                                 champion=predicted(truth, theirs, labels))  # fmt: skip
    decision = decide(POLICY, found)
    assert decision.figures["champion's reviews, loss"] == pytest.approx((160 / 220 + 120 / 180) / 2 - 1 / 2)
    assert failed(decision) == ["no forgetting"]


@pytest.mark.parametrize("right", [0.75, 0.8, 0.95])
def test_equal_and_better_on_the_champions_reviews_pass(right):
    assert decide(POLICY, on_champions_reviews(right)).promote


def test_what_the_challenger_learnt_from_is_told_and_too_few_others_decide_nothing():
    reason = decide(POLICY, on_champions_reviews(0.5, left_out=(40, 3))).reason
    assert "on 600 of the champion's own 643 test reviews" in reason
    assert "(the challenger learnt from the others: 40 by id, 3 by text)" in reason
    few = decide(POLICY, on_champions_reviews(0.5, reviews=99, left_out=(400, 0)))
    assert few.promote
    assert rule(few, "no forgetting").detail.endswith("too few to judge")
    assert decide(POLICY, replace(EVIDENCE, champion_reviews=ChampionReviews(400, 400, 0))).promote


@pytest.mark.parametrize(
    "missing", [None, ChampionReviews(problem="the prepared data 'd1' are not in this store")], ids=["none", "gone"]
)
def test_reviews_that_are_gone_count_against_the_challenger_unless_the_policy_has_no_limit(missing):
    found = replace(EVIDENCE, champion_reviews=missing)
    assert failed(decide(POLICY, found)) == ["no forgetting"]
    assert decide(POLICY.model_copy(update={"max_champion_loss": None}), found).promote


def test_answers_of_other_reviews_count_against_the_challenger():
    assert failed(decide(POLICY, on_champions_reviews(0.9, challenger=drawn(300, 0.9)))) == ["no forgetting"]


def test_reviews_that_belong_together_are_drawn_together():
    """Of four groups one has lost its label altogether: of 600 reviews that is sure, of four groups it is not."""
    theirs = drawn(REVIEWS, 0.75, seed=1)
    ours = with_answers(theirs, np.arange(0, REVIEWS, 4), (theirs.truth_N[::4] + 2) % 5)
    assert failed(decide(POLICY, on_champions_reviews(0, challenger=ours, champion=theirs))) == ["no forgetting"]
    groups = np.arange(REVIEWS) % 4
    sides = {who: predicted(rows.truth_N, rows.answers_N, groups=groups)
             for who, rows in (("challenger", ours), ("champion", theirs))}  # fmt: skip
    assert decide(POLICY, on_champions_reviews(0, **sides)).promote
