import json
import math

import numpy as np
import polars as pl
import pytest

from core.config.sections.evaluation import PromotionConfig
from core.output import literal
from evaluation.gate.decision import Decision
from evaluation.gate.language import LanguageCase
from tests.evaluation.challengers import FIRST, assert_refused_by, evidence, judge, rule, scores


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


def test_a_baseline_that_is_as_good_is_reason_to_refuse():
    assert_refused_by(judge(baseline=scores(0.9, seed=1)), "better than the baseline")
    assert_refused_by(judge(baseline=None), "better than the baseline")
    assert_refused_by(judge(baseline=scores(1.2, reviews=100)), "better than the baseline")
    assert_refused_by(judge(PromotionConfig(min_gain_over_baseline=0.5)), "better than the baseline")


def test_a_gain_above_the_wanted_one_must_be_so_surely():
    """10 % measured, wanted 9.9 %: enough by the figure, but the interval reaches below."""
    assert_refused_by(judge(PromotionConfig(min_relative_gain=0.099)), "better than the champion")
    assert judge(PromotionConfig(min_relative_gain=0.07)).promote


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


# --- When a gain is sure: few reviews, groups of them, losses that no sample shows, and a first champion

def told(reviews=200, **columns):
    """What is known of the test reviews besides their scores."""
    return pl.DataFrame({"review_id": scores(reviews=reviews)["review_id"], **columns})


def level(reviews, gain, noise=0.004):
    """A challenger that is as good as the champion, but for this gain, on every review alike."""
    return {"challenger": scores(1 - gain, reviews, noise, seed=1), "champion": scores(reviews=reviews),
            "baseline": scores(1.5, reviews)}  # fmt: skip


def test_a_small_gain_on_every_one_of_thirty_reviews_is_not_sure():
    """More than half of such samples lack what happens on one review in fifty, however bad it is."""
    decision = judge(**level(30, 0.02))
    assert_refused_by(decision, "better than the champion")
    assert "to decide, test on more reviews" in decision.reason
    assert judge(PromotionConfig(max_review_loss=0), **level(30, 0.02)).promote, "who takes it on trust says so"
    assert judge(**level(3_000, 0.02)).promote


def test_a_large_gain_on_thirty_reviews_is():
    assert judge(**level(30, 0.3)).promote


def test_the_least_gain_that_can_be_sure_is_told_and_is_what_passes():
    """1 − 0.025^(1/n) of the text may be twice as dear, n being the effective number of reviews."""
    case = LanguageCase.of(PromotionConfig(), evidence(**level(100, 0.02)))
    size = scores(reviews=100)["bytes"].to_numpy().astype(float)
    number = size.sum() ** 2 / (size**2).sum()
    weight = 1 - 0.025 ** (1 / number)
    assert case.effective_groups == pytest.approx(number)
    assert case.least_gain == pytest.approx(weight / (1 - weight))
    said = rule(judge(**level(100, 0.02)), "better than the champion").detail
    assert f"no gain below {case.least_gain:.2%} is sure" in said
    for times, passes in ((0.9, False), (1.1, True)):
        tight = level(100, times * case.least_gain, noise=1e-4)
        assert judge(**tight, resamples=4_000).promote is passes


def test_groups_count_and_not_reviews():
    """300 reviews of 29 businesses are fewer than 30 pieces of evidence; of 60 they are enough."""
    few, enough = (told(300, group=np.arange(300) % count) for count in (29, 60))
    refused = judge(**level(300, 0.3), reviews=few, grouped_by="business")
    assert_refused_by(refused, "enough reviews")
    assert "300 test reviews in 29 groups (business), at least 30 groups are needed" in refused.reason
    assert "more reviews" in refused.reason
    decision = judge(**level(300, 0.3), reviews=enough, grouped_by="business")
    assert decision.promote
    assert decision.figures["test groups"] == 60
    assert 50 < decision.figures["test groups, effective"] < 60


def test_copies_of_reviews_make_no_gain_surer():
    """Each review ten times, in one group: the interval is that of the reviews once, to the last digit shown."""
    noisy = {"challenger": scores(0.96, 60, 0.15, seed=5), "champion": scores(reviews=60), "baseline": scores(2, 60)}
    once = judge(**noisy)
    copied = {
        name: pl.concat(rows.with_columns(pl.format("{}-{}", "review_id", pl.lit(n))) for n in range(10))
        for name, rows in noisy.items()
    }
    together = copied["champion"].select("review_id", group=pl.col("review_id").str.head(6).rank("dense"))
    grouped, apart = judge(**copied, reviews=together), judge(**copied)
    ends = [rule(one, "better than the champion").value for one in (once, grouped, apart)]
    assert ends[1] == pytest.approx(ends[0])
    assert ends[2] > ends[0] + 0.01
    assert not grouped.promote
    assert apart.promote, "which is what groups are for"


def test_a_slice_of_one_business_shows_nothing_and_of_many_shows_its_loss():
    worse = scores(seed=1).with_columns(nats=pl.when(pl.col("stars") == 1).then(pl.col("nats") * 1.1).otherwise(
        pl.col("nats") * 0.7))  # fmt: skip
    ones = (scores()["stars"] == 1).to_numpy()
    one_place, many = np.where(ones, 0, np.arange(200)), np.arange(200) // 2
    for groups, sure in ((one_place, False), (many, True)):
        case = LanguageCase.of(PromotionConfig(), evidence(challenger=worse, reviews=told(group=groups)))
        row = case.slice_losses().row(0, named=True)
        assert (row["slice"], row["reviews"]) == ("1", 40)
        assert (row["surely"] > 0) is sure
    copies = pl.concat([scores(1.05, noise=0.3, seed=1), scores(1.05, noise=0.3, seed=1).with_columns(
        pl.col("review_id") + "x")])  # fmt: skip
    champion = pl.concat([scores(), scores().with_columns(pl.col("review_id") + "x")])
    together = champion.select("review_id", group=pl.col("review_id").str.head(6).rank("dense"))
    by_stars = PromotionConfig(slice_dimensions=("stars",))
    single = LanguageCase.of(by_stars, evidence(challenger=scores(1.05, noise=0.3, seed=1), champion=scores()))
    double = LanguageCase.of(by_stars, evidence(challenger=copies, champion=champion, reviews=together))
    assert double.slice_losses()["surely"].to_list() == pytest.approx(single.slice_losses()["surely"].to_list())


def test_a_first_champion_must_surely_beat_the_baseline():
    lucky = scores(0.999, noise=0.3, seed=4)
    close = judge(**FIRST, challenger=lucky, baseline=scores(1.02))
    assert_refused_by(close, "better than the baseline")
    assert "not surely above 0.00%" in close.reason
    assert judge(**FIRST, challenger=scores(0.9, seed=1), baseline=scores()).promote


def test_a_loss_larger_than_allowed_for_is_warned_of():
    ours = scores(0.5).with_columns(nats=pl.when(pl.col("review_id") == "r00007").then(pl.col("nats") * 5)
                                    .otherwise(pl.col("nats")))  # fmt: skip
    decision = judge(challenger=ours)
    [warning] = decision.warnings
    assert warning.startswith("on 1 of 200 test reviews the challenger needs up to 2.5 times the other model's bits")
    assert literal(f"warning: {warning}") in decision.to_markdown()
    assert "warning: on 1 of 200 test reviews" in decision.to_markdown()
    assert json.loads(decision.to_json())["warnings"] == [warning]
    assert Decision.from_json(decision.to_json()) == decision
    assert judge().warnings == ()


def alike(spread, reviews=400, size=4):
    """A challenger better by 4 %, whose difference has a part that all reviews of a user share."""
    random = np.random.default_rng(3)
    factor = 0.96 + spread * random.normal(size=reviews // size)[np.arange(reviews) // size]
    factor = factor + 0.02 * random.normal(size=reviews)
    challenger = scores(reviews=reviews).with_columns(nats=pl.col("nats") * pl.Series(factor))
    return {"challenger": challenger, "champion": scores(reviews=reviews), "baseline": scores(1.5, reviews),
            "reviews": told(reviews, user_id=[f"u{n // size}" for n in range(reviews)])}  # fmt: skip


def test_reviews_of_one_user_that_resemble_each_other_are_warned_of_unless_they_are_drawn_together():
    [warning] = judge(**alike(0.05)).warnings
    assert warning.startswith("reviews of one user resemble each other: for other users the gain's variance")
    assert warning.endswith('to decide for them, set split.by = "user"')
    assert judge(**alike(0.0)).warnings == ()
    drawn = alike(0.05)
    drawn["reviews"] = drawn["reviews"].with_columns(group=pl.col("user_id").rank("dense"))
    assert judge(**drawn).warnings == ()
