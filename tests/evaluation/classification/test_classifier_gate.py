"""The gate for classifiers: for each rule a challenger that only this rule refuses, and what never promotes."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.lineage.record import Family
from evaluation.gate.classification import ClassifierCase
from evaluation.gate.decision import UNITS, Decision
from evaluation.gate.evidence import ChampionReviews, Evidence, Latency, Leaks, ModelEvidence, ServingEvidence
from tests.evaluation.classification.made_answers import STARS, drawn, predicted
from tests.evaluation.classification.made_evidence import (
    BETTER,
    DATA,
    DOCUMENTS,
    EVIDENCE,
    POLICY,
    REVIEWS,
    SERVING,
    SIMPLE,
    WORDS,
    WORSE,
    YELP,
    answering,
    changed,
    decide,
    failed,
    on_champions_reviews,
    rule,
    with_answers,
)
from tests.examples import examples


def without_probabilities(found):
    return with_answers(found, [], [])


def relabelled(share, truth_N, seed):
    """Answers on reviews of two labels, right on about a share of them."""
    right_N = np.random.default_rng(seed).random(REVIEWS) < share
    return predicted(truth_N, np.where(right_N, truth_N, (truth_N + 1) % 2), ("1", "2"))


def one_probability_is_nan():
    table = BETTER.probabilities_NK.copy()
    table[17, 2] = np.nan
    return predicted(BETTER.truth_N, BETTER.answers_N, probabilities=table)


def of_unequal_labels():
    """85 % of the reviews have one label. The challenger finds both, and is right on three quarters."""
    truth = (np.arange(REVIEWS) % 20 < 17).astype(int)
    shares = {"challenger": 0.75, "champion": 0.6, "baseline": 0.45}
    return answering(**{who: relabelled(share, truth, seed) for seed, (who, share) in enumerate(shares.items())})


def lucky():
    """The champion, with 12 answers mended and 8 spoilt."""
    wrong, right = (np.flatnonzero(found) for found in (~WORSE.correct_N, WORSE.correct_N))
    answers = with_answers(WORSE, wrong[:12], WORSE.truth_N[wrong[:12]])
    return with_answers(answers, right[:8], (WORSE.truth_N[right[:8]] + 1) % 5)


def better_on_few():
    """The champion, with five answers mended: all five reviews on which they differ speak for the challenger."""
    wrong = np.flatnonzero(~WORSE.correct_N)[:5]
    return with_answers(WORSE, wrong, WORSE.truth_N[wrong])


def bad_at_long_reviews():
    longest = np.flatnonzero(np.quantile(WORDS, 0.8) <= WORDS)
    return with_answers(drawn(REVIEWS, 0.95), longest, (BETTER.truth_N[longest] + 1) % 5)


def never_finds_the_rarest():
    """Three reviews have a sixth label; the champion finds one of them, the challenger none."""
    labels, found = (*STARS, "none"), {}
    sides = (("challenger", drawn(REVIEWS, 0.95), []), ("champion", WORSE, [0]), ("baseline", SIMPLE, []))
    for who, rows, found_rows in sides:
        truth, answers = rows.truth_N.copy(), rows.answers_N.copy()
        truth[:3], answers[:3] = 5, 0
        answers[found_rows] = 5
        found[who] = predicted(truth, answers, labels)
    return answering(**found)


CASES = {
    "another model": changed(EVIDENCE, "challenger", digest="old"),
    "not rolled back": replace(EVIDENCE, rolled_back="version 2 is the same fit; ann rolled back from it: complaints"),
    "champion at hand": changed(EVIDENCE, "champion", rows=None, problem="its files were deleted"),
    "answers at hand": changed(EVIDENCE, "challenger", problem="weights.npz was changed"),
    "same test reviews": changed(EVIDENCE, "champion", test="test2"),
    "enough reviews": answering(
        challenger=drawn(REVIEWS, 0.9, 1, groups=np.arange(REVIEWS) % 80),
        champion=drawn(REVIEWS, 0.6, 2, groups=np.arange(REVIEWS) % 80),
        baseline=drawn(REVIEWS, 0.45, 3, groups=np.arange(REVIEWS) % 80),
    ),
    "finite figures": answering(challenger=one_probability_is_nan()),
    "same data family": changed(EVIDENCE, "champion", family=Family("paint names")),
    "data checks": changed(EVIDENCE, "data", checks_passed=False),
    "leak certificate": changed(EVIDENCE, "data", leaks=Leaks(True, "no leak", "test2")),
    "smoke test": changed(EVIDENCE, "serving", smoke_passed=None),
    "latency": changed(EVIDENCE, "serving", latency=Latency(3.0, 100.1)),
    "size": changed(EVIDENCE, "serving", megabytes=50.1),
    "better than the majority label": of_unequal_labels(),
    "better than the baseline": answering(baseline=drawn(REVIEWS, 0.74, seed=5)),
    "better than the champion": answering(challenger=better_on_few(), baseline=drawn(REVIEWS, 0.3, seed=3)),
    "no slice worse": answering(challenger=bad_at_long_reviews()),
    "no label given up": never_finds_the_rarest(),
    "no forgetting": on_champions_reviews(0.5),
}  # fmt: skip
"""By rule, evidence against which only this rule speaks."""


@pytest.fixture(scope="module")
def promoted():
    return decide(POLICY, EVIDENCE)


def test_a_better_classifier_is_promoted_and_the_decision_says_what_it_is_based_on(promoted):
    assert promoted.promote
    assert failed(promoted) == []
    assert promoted.reason == f"its macro-F1 is {100 * promoted.figures['gain']:.2f} points above the champion's"
    assert (promoted.challenger, promoted.champion, promoted.test_set) == ("new", "old", "test1")
    assert promoted.figures["gain, lower end"] > 0.05
    assert len(promoted.challenger_scores) == 64
    assert promoted.challenger_scores != promoted.champion_scores


@pytest.mark.parametrize("name", CASES)
def test_each_rule_alone_refuses_what_it_is_there_for(name):
    decision = decide(POLICY, CASES[name])
    assert not decision.promote
    assert failed(decision) == [name]
    assert decision.reason == rule(decision, name).detail
    json.loads(decision.to_json())


def test_each_rule_has_a_case(promoted):
    assert len(promoted.rules) == len(ClassifierCase.RULES)
    assert {rule.name for rule in promoted.rules} == CASES.keys()
    assert rule(decide(POLICY, answering(challenger=drawn(REVIEWS, 0.4))), "better than the champion").passed is False


def test_a_tie_keeps_the_champion():
    equal = changed(answering(champion=BETTER), "champion", digest="old")
    assert failed(decide(POLICY, equal)) == ["better than the champion"]
    simple = replace(equal, baseline=replace(equal.baseline, rows=BETTER))
    assert "better than the baseline" in failed(decide(POLICY, simple))


def test_a_gain_that_may_be_chance_is_refused():
    decision = decide(POLICY, answering(challenger=lucky(), baseline=drawn(REVIEWS, 0.3, seed=3)))
    assert failed(decision) == ["better than the champion"]
    assert "right on 12 reviews, the champion alone on 8" in decision.reason


def test_fewer_differing_reviews_than_a_coin_can_explain_prove_nothing():
    decision = decide(POLICY, CASES["better than the champion"])
    assert rule(decision, "better than the champion").value > 0
    said = "their answers differ on 5 reviews, and an equally good classifier would gain as much with a probability of "
    assert f"{said}3.12 %, above 2.5 %" in decision.reason
    lenient = POLICY.model_copy(update={"confidence": 0.9})
    found = decide(lenient, CASES["better than the champion"])
    assert found.promote, "five coins fall alike in 3.1 % of the cases, below 5 %"


def test_a_gain_below_the_required_one_is_refused():
    decision = decide(POLICY.model_copy(update={"min_gain": 0.3}), EVIDENCE)
    assert failed(decision) == ["better than the champion"]


NOT_NUMBERS = {
    "latency": changed(EVIDENCE, "serving", latency=Latency(3.0, math.nan)),
    "size": changed(EVIDENCE, "serving", megabytes=math.nan),
    "probabilities": CASES["finite figures"],
    "probabilities of the champion": answering(champion=one_probability_is_nan(), challenger=drawn(REVIEWS, 0.95)),
    "interval": answering(
        challenger=drawn(REVIEWS, 0.95, groups=np.zeros(REVIEWS, int)),
        champion=drawn(REVIEWS, 0.5, groups=np.zeros(REVIEWS, int)),
        baseline=drawn(REVIEWS, 0.4, groups=np.zeros(REVIEWS, int)),
    ),
}


@pytest.mark.parametrize("what", NOT_NUMBERS)
def test_what_is_not_a_number_never_promotes(what):
    lenient = POLICY.model_copy(update={"min_test_reviews": 1})
    decision = decide(lenient, NOT_NUMBERS[what])
    assert not decision.promote
    assert "NaN" not in decision.to_json()


def test_equal_evidence_gives_an_equal_decision_whatever_the_order_of_the_reviews(promoted):
    assert decide(POLICY, EVIDENCE).to_json() == promoted.to_json()
    order = np.random.default_rng(8).permutation(REVIEWS)

    def shuffled(found):
        return predicted(found.truth_N[order], found.answers_N[order], probabilities=found.probabilities_NK[order],
                         ids=found.review_ids.gather(order))  # fmt: skip

    other = answering(challenger=shuffled(BETTER), baseline=shuffled(SIMPLE))
    other = changed(other, "data", reviews=DOCUMENTS.sample(fraction=1.0, shuffle=True, seed=3))
    assert decide(POLICY, other).to_json() == promoted.to_json()
    assert Decision.from_json(promoted.to_json()).to_json() == promoted.to_json()


def test_the_first_classifier_needs_no_champion_but_must_beat_the_majority_and_the_baseline():
    first = replace(EVIDENCE, champion=None)
    decision = decide(POLICY, first)
    assert decision.promote
    assert decision.reason == "first model, all rules passed"
    assert rule(decision, "no slice worse").detail == "there is no champion yet"
    simple = replace(first, challenger=replace(EVIDENCE.challenger, rows=drawn(REVIEWS, 0.2)))
    assert failed(decide(POLICY, simple)) == ["better than the majority label", "better than the baseline"]
    assert failed(decide(POLICY, replace(first, baseline=None))) == ["better than the baseline"]


def test_the_champion_itself_is_refused_once():
    again = replace(EVIDENCE, challenger=replace(EVIDENCE.champion), serving=ServingEvidence())
    decision = decide(POLICY, again)
    assert not decision.promote
    assert decision.reason == "the challenger is identical to the champion (old)"


def test_a_lost_champion_is_replaced_only_if_the_policy_says_so():
    lost = CASES["champion at hand"]
    decision = decide(POLICY.model_copy(update={"replace_lost_champion": True}), lost)
    assert decision.promote
    assert "its files were deleted: the policy allows replacing it" in decision.reason


def test_a_champion_of_other_labels_is_whole_but_not_compared():
    other = changed(EVIDENCE, "champion", rows=None, labels=("negative", "positive"))
    decision = decide(POLICY, other)
    assert failed(decision) == ["same test reviews"]
    assert "the labels differ: negative, positive, and the challenger's 1, 2, 3, 4, 5" in decision.reason
    assert "register it under another name (classification.promotion.model_name)" in decision.reason
    assert "replace_lost_champion" not in decision.to_markdown()
    answers = predicted(WORSE.truth_N, WORSE.answers_N, ("a", "b", "c", "d", "e"))
    assert failed(decide(POLICY, answering(champion=answers))) == ["same test reviews"]


def test_a_limit_of_none_switches_its_rule_off_but_shows_the_value():
    lenient = POLICY.model_copy(
        update={"max_slice_loss": None, "min_gain_over_majority": None, "max_latency_ms": None, "max_megabytes": None}
    )
    for name in ("no slice worse", "better than the majority label", "latency"):
        decision = decide(lenient, CASES[name])
        assert decision.promote, decision.reason
        assert rule(decision, name).value is not None


def test_every_value_has_a_unit_and_the_decision_shows_that_higher_is_better(promoted):
    assert {rule.name for rule in promoted.rules if rule.value is not None or rule.limit is not None} <= UNITS.keys()
    shown = promoted.to_markdown()
    assert "| higher is better | challenger | champion | baseline | majority label |" in shown
    assert "| size | passed | 12 MB | 50 MB |" in shown


@st.composite
def any_evidence(draw):
    """Classifiers of any quality, some of them missing, lost or without probabilities; groups of any size."""
    groups = draw(st.sampled_from([None, np.arange(REVIEWS) // 4, np.arange(REVIEWS) // 100]))
    sides = {}
    for seed, who in enumerate(("challenger", "champion", "baseline")):
        share, probable = draw(st.floats(0, 0.99)), draw(st.booleans())
        missing = draw(st.sampled_from(["", "", "", "its files were deleted"]))
        rows = drawn(REVIEWS, share, seed, groups=groups, probable=probable)
        rows = None if missing and who != "challenger" else rows
        test = draw(st.sampled_from(["test1", "test1", "test2"]))
        sides[who] = ModelEvidence(who, rows, test, missing, YELP, name=who)
    for who in draw(st.sets(st.sampled_from(["champion", "baseline"]))):
        sides[who] = None
    own = ChampionReviews(same=True)
    return Evidence(**sides, data=DATA, serving=SERVING, champion_reviews=own, resamples=100)


@examples(120)
@given(any_evidence())
def test_whatever_the_evidence_only_a_surely_better_is_promoted(found):
    decision = decide(POLICY, found)
    json.loads(decision.to_json())
    assert decision.to_markdown()
    if decision.promote:
        told = decision.figures
        assert told["challenger, macro-F1"] > told["baseline, macro-F1"]
        assert told["challenger, accuracy"] > told["majority label, accuracy"]
        assert found.champion is None or told["gain, lower end"] > 0


@pytest.mark.long
def test_an_equal_classifier_is_promoted_no_more_often_than_stated():
    """2.5 % by confidence 0.95: of 400 tries 10, give or take 3.1."""
    passed = 0
    for seed in range(400):
        equal = answering(challenger=without_probabilities(drawn(REVIEWS, 0.75, seed=10 + 2 * seed)),
                          champion=without_probabilities(drawn(REVIEWS, 0.75, seed=11 + 2 * seed)))  # fmt: skip
        passed += decide(POLICY, equal).promote
    assert passed <= 10 + 2.5 * 3.1
