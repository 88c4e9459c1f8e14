import json
import math
from dataclasses import replace

import polars as pl
import pytest

from core.config.sections.promotion import PromotionConfig
from evaluation.gate.decision import UNITS, Decision, RuleOutcome
from tests.evaluation.challengers import FIRST, assert_refused_by, judge, rule, scores


def test_a_better_challenger_is_promoted():
    decision = judge()
    assert decision.promote
    assert all(rule.passed is not False for rule in decision.rules)
    assert "better than the champion by 9." in decision.reason or "by 10." in decision.reason


def test_a_challenger_of_text_that_was_cleaned_in_another_way_is_refused_unless_the_policy_allows_it():
    other = "the section 'clean' has changed"
    assert_refused_by(judge(unfair=other), "same reading of the text")
    assert judge(unfair=other).reason == f"{other}; it passes only with promotion.allow_other_reading"
    allowed = judge(PromotionConfig(allow_other_reading=True), unfair=other)
    assert allowed.promote
    assert rule(allowed, "same reading of the text").passed is None
    first = judge(unfair=other, **FIRST)
    assert first.promote, "where there is no champion there is nothing to have an advantage over"


def test_the_champion_itself_is_not_promoted_again():
    decision = judge(challenger_digest="old", challenger=scores(), smoke_passed=None)
    assert not decision.promote
    assert decision.reason == "the challenger is identical to the champion (old)"


def test_a_worse_model_is_refused():
    assert_refused_by(
        judge(challenger=scores(1.02, seed=1)), "better than the champion"
    )


def with_score(value, level=1.0, review="r00003"):
    """Scores of which one is *value*."""
    return scores(level).with_columns(
        nats=pl.when(pl.col("review_id") == review).then(value).otherwise(pl.col("nats"))
    )


@pytest.mark.parametrize(
    ("whose", "bad"), [("challenger", math.nan), ("challenger", math.inf), ("champion", math.nan),
                       ("champion", -math.inf)],
)  # fmt: skip
def test_a_score_that_is_no_number_never_promotes(bad, whose):
    frame = with_score(bad, 0.5 if whose == "challenger" else 1.0)
    decision = judge(**{whose: frame})
    assert not decision.promote
    assert rule(decision, "finite figures").passed is False
    assert whose in rule(decision, "finite figures").detail
    json.loads(decision.to_json(), parse_constant=pytest.fail)


def test_a_champion_that_calls_a_review_impossible_gives_way_to_a_challenger_that_calls_none_so():
    """Even to one that needs more bits on every other review, if nothing else speaks against it."""
    for level in (0.9, 1.1):
        decision = judge(champion=with_score(math.inf), challenger=scores(level, seed=1))
        assert decision.promote
        said = "the champion calls 1 of 200 test reviews impossible (probability 0), the challenger none"
        assert decision.reason == said
        for name in ("finite figures", "better than the champion"):
            assert (rule(decision, name).passed, rule(decision, name).detail) == (True, said)
        assert rule(decision, "no slice worse").passed is None
        json.loads(decision.to_json(), parse_constant=pytest.fail)


def test_a_challenger_that_calls_a_review_impossible_is_refused_whatever_the_champion_does():
    decision = judge(champion=with_score(math.inf), challenger=with_score(math.inf, 0.5, review="r00004"))
    assert not decision.promote
    assert rule(decision, "finite figures").passed is False
    assert rule(decision, "better than the champion").passed is False


def test_different_test_sets_are_refused_and_both_are_named():
    decision = judge(champion_test="test2")
    assert_refused_by(decision, "same test reviews")
    assert "test1" in decision.reason
    assert "test2" in decision.reason


def test_stored_figures_of_other_reviews_are_refused():
    renamed = scores().with_columns(pl.col("review_id") + "x")
    assert_refused_by(judge(champion=renamed), "same test reviews")
    assert_refused_by(judge(champion=scores().head(199)), "same test reviews")
    assert_refused_by(judge(champion=scores().with_columns(pl.col("bytes") + 1)), "same test reviews")


def test_a_review_scored_twice_is_refused():
    twice = pl.concat([scores(0.9, seed=1).head(199), scores(0.9, seed=1).head(1)])
    decision = judge(challenger=twice, champion=twice, baseline=twice.with_columns(pl.col("nats") * 2))
    assert_refused_by(decision, "same test reviews", "better than the baseline")
    assert "twice" in decision.reason


def test_a_champion_that_was_not_scored_blocks_the_promotion():
    assert_refused_by(judge(champion=None), "same test reviews")


def test_without_a_champion_a_model_that_breaks_no_rule_is_promoted():
    decision = judge(**FIRST)
    assert decision.promote
    assert decision.champion is None
    assert rule(decision, "better than the champion").outcome == "not applicable"
    worse = judge(**FIRST, challenger=scores(1.3))
    assert_refused_by(worse, "better than the baseline")


def test_too_few_test_reviews_are_refused():
    assert_refused_by(judge(PromotionConfig(min_test_reviews=201)), "enough reviews")
    with pytest.raises(ValueError, match="min_test_reviews"):
        PromotionConfig(min_test_reviews=1)  # all draws of one review are the same: nothing would look surer


def test_a_certificate_of_another_test_set_is_refused_and_both_are_named():
    decision = judge(leak_test="test2")
    assert_refused_by(decision, "leak certificate")
    assert "test1" in decision.reason
    assert "test2" in decision.reason
    assert rule(judge(**FIRST), "leak certificate").passed


def test_what_is_known_of_the_champions_training_data_is_told_and_refuses_nothing():
    decision = judge(leak_detail="no text leaks; the champion was trained on other data")
    assert decision.promote
    assert "the champion was trained on other data" in rule(decision, "leak certificate").detail


def test_a_baseline_that_is_as_good_is_reason_to_refuse():
    assert_refused_by(judge(baseline=scores(0.9, seed=1)), "better than the baseline")
    assert_refused_by(judge(baseline=None), "better than the baseline")
    assert_refused_by(judge(baseline=scores(1.2, reviews=100)), "better than the baseline")
    assert_refused_by(judge(PromotionConfig(min_gain_over_baseline=0.5)), "better than the baseline")


def test_the_baseline_need_not_beat_itself():
    decision = judge(baseline_digest="new", baseline=scores(0.9, seed=1))
    assert rule(decision, "better than the baseline").outcome == "not applicable"
    assert decision.promote


def test_a_gain_above_the_wanted_one_must_be_so_surely():
    """10 % measured, wanted 9.9 %: enough by the figure, but the interval reaches below."""
    assert_refused_by(judge(PromotionConfig(min_relative_gain=0.099)), "better than the champion")
    assert judge(PromotionConfig(min_relative_gain=0.07)).promote


def test_a_loss_that_may_be_luck_is_called_no_sure_gain():
    detail = rule(judge(challenger=scores(0.99, noise=0.5, seed=4)), "better than the champion").detail
    assert "the cautious 95 % interval is -" in detail
    assert detail.endswith(": no sure gain")


def test_star_ratings_with_few_reviews_are_left_out():
    few = pl.when(pl.int_range(pl.len()) < 5).then(0).otherwise(pl.col("stars")).alias("stars")
    worse = pl.when(pl.col("stars") == 0).then(pl.col("nats") * 2).otherwise(pl.col("nats") * 0.7)
    champion = scores().with_columns(few)
    others = {"champion": champion, "baseline": scores(1.2).with_columns(few)}
    decision = judge(challenger=champion.with_columns(nats=worse), **others)
    assert decision.promote
    assert "5 of stars" in rule(decision, "no slice worse").detail


def test_a_vocabulary_that_hides_words_behind_unk_wins_nothing():
    hiding = scores(0.5).with_columns(spelling_nats=pl.col("nats") * 1.2)
    decision = judge(challenger=hiding)
    assert not decision.promote
    assert rule(decision, "better than the champion").passed is False
    assert "open bits per byte" in decision.metric


def test_equal_evidence_in_any_order_gives_the_same_bytes():
    shuffled = scores().sample(fraction=1.0, shuffle=True, seed=1)
    mixed = judge(challenger=scores(0.9, seed=1).reverse(), champion=shuffled)
    assert mixed.to_json() == judge().to_json() == judge().to_json()


def test_a_decision_survives_json():
    for decision in (judge(), judge(champion=None, champion_digest=None), judge(challenger=scores(math.nan))):
        assert Decision.from_json(decision.to_json()) == decision


def test_equal_evidence_gives_an_equal_decision_also_if_all_slices_gain_the_same():
    """Then the last digits of sums decide which slice is named as the worst."""
    assert len({judge(challenger=scores(0.9), resamples=50).to_json() for _ in range(40)}) == 1


def test_markdown_and_json_say_the_same():
    decision = judge()
    values = json.loads(decision.to_json())
    shown = decision.to_markdown()
    assert "Promoted" in shown
    for each in values["rules"]:
        assert each["name"] in shown
        assert each["detail"] in shown
    for digest in ("new", "old", "test1"):
        assert digest in shown
    assert (values["challenger"], values["champion"], values["test_set"]) == ("new", "old", "test1")


def test_markdown_begins_with_the_verdict_and_the_figures_of_both_models_side_by_side():
    decision = replace(judge(), figures={
        "challenger, open bits per byte": 0.5, "challenger, bits per byte": 0.4, "champion, open bits per byte": 0.75,
        "test reviews": 680.0,
    })  # fmt: skip
    shown = decision.to_markdown().splitlines()
    assert shown[0] == f"### {decision.headline}"
    assert shown[2:6] == [
        "| lower is better | challenger | champion |", "|---|---:|---:|", "| open bits per byte | 0.5 | 0.75 |",
        "| bits per byte | 0.4 | – |",
    ]
    assert "- test reviews: 680" in shown
    assert "| lower is better" not in replace(decision, figures={}).to_markdown()


def test_values_and_limits_are_shown_with_their_unit():
    known = (("size", 11.8534, None), ("latency", 19.151, 1000), ("better than the champion", 0.190986, 0.0),
             ("novelty", 1.01506, 0.5), ("not below the floor", 0.222757, 0.0), ("enough reviews", 26722, 30))
    rules = tuple(RuleOutcome(name, True, "why", value, limit) for name, value, limit in known)
    shown = replace(judge(), rules=rules, figures={"gain": -0.0123, "difference": 0.00456})
    assert [row[2:4] for row in shown.rows()] == [
        ["11.85 MB", "–"], ["19.15 ms", "1,000 ms"], ["19.1%", "0%"], ["101.5%", "50%"],
        ["0.2228 bits/byte", "0 bits/byte"], ["26,722 groups", "30 groups"],
    ]
    assert "- gain: -1.23%" in shown.to_markdown()
    assert "- difference: 0.00456 bits/byte" in shown.to_markdown()
    assert {rule.name for rule in judge().rules if rule.value is not None or rule.limit is not None} <= UNITS.keys()


def test_in_the_table_of_markdown_failed_rules_are_first_and_those_that_do_not_apply_last():
    rules = tuple(RuleOutcome(name, passed, "why") for name, passed in (("a", None), ("b", True), ("c", False)))
    shown = replace(judge(), rules=rules, figures={}).to_markdown()
    rows = [line for line in shown.splitlines() if line.endswith("| why |")][1:]
    assert [row.split(" | ")[0] for row in rows] == ["| c", "| b", "| a"]
