"""The gate of language models: who is promoted, who is refused, and what the decision says."""

import json
import math

import numpy as np
import polars as pl
import pytest

from reviewlm.core.config.sections.evaluation import PromotionConfig
from reviewlm.core.output import literal
from reviewlm.evaluation.gate.decision import Decision
from reviewlm.evaluation.gate.evidence import Latency
from reviewlm.evaluation.gate.language import LanguageCase
from reviewlm.evaluation.scoring.metrics import figures_of
from reviewlm.evaluation.statistics.comparison import comparable
from tests.evaluation.challengers import (
    FIRST,
    HONEST,
    assert_refused_by,
    evidence,
    judge,
    rule,
    scores,
)


def test_a_better_challenger_is_promoted():
    decision = judge()
    assert decision.promote
    assert all(rule.passed is not False for rule in decision.rules)
    assert "better than the champion by 9." in decision.reason or "by 10." in decision.reason


@pytest.mark.parametrize(
    "challenger",
    [scores(0.9, seed=1), scores(1.02, seed=1), scores()],
    ids=["better", "worse", "equal"],
)
def test_a_decision_names_the_version_that_was_champion_then(challenger):
    named = judge(challenger=challenger, champion_name="version 3")
    unnamed = judge(challenger=challenger)
    for sentence, same in [
        (named.reason, unnamed.reason),
        *(
            (ours.detail, theirs.detail)
            for ours, theirs in zip(named.rules, unnamed.rules, strict=True)
        ),
    ]:
        assert "the champion" not in sentence
        assert sentence.replace("champion version 3", "the champion") == same

    assert "champion version 3" in named.reason


@pytest.mark.parametrize(
    ("challenger", "brief"),
    [
        (scores(1.2, seed=1), "surely worse"),
        (scores(), "not surely better"),
        (scores(0.9, seed=1), "better"),
    ],
    ids=["worse", "equal", "better"],
)
def test_a_refusal_says_in_brief_whether_the_challenger_is_worse(challenger, brief):
    assert judge(challenger=challenger).brief_reason == brief


WHY = "none fits in 7 min"


@pytest.mark.parametrize("factor", [1.2, 0.9], ids=["refused", "promoted"])
def test_a_decision_also_says_why_no_network_was_trained(factor):
    """After the rule that decides: a missing network is none."""
    alone = judge(challenger=scores(factor, seed=1))
    decision = alone.with_no_network(WHY)
    assert decision.reason.startswith(alone.reason)
    assert WHY in decision.reason
    assert decision.brief_reason == alone.brief_reason


def test_a_lost_champion_is_named_once():
    decision = judge(
        **LOST,
        champion_digest="old",
        champion_name="version 3",
    )
    assert decision.reason.count("version 3") == 1


STRICT = PromotionConfig(
    min_novelty=0.5,
    max_copied_span=50,
    max_exposure=8,
    max_private_patterns=10,
    max_latency_ms=100,
    max_megabytes=50,
)
LOST = {
    "champion": None,
    "champion_test": None,
    "champion_departure": None,
    "champion_problem": "the champion, version 3, cannot be measured: its files were deleted",
}
TWICE = pl.concat([scores(0.9, seed=1).head(199), scores(0.9, seed=1).head(1)])
RECITES = {
    **HONEST,
    "copied_passages": 0.9,
    "longest_copied": 130,
    "exposure_max": 13.3,
    "private_patterns": 40,
}
BROKEN = {
    "score_problem": "weights.safetensors was changed",
    "challenger_departure": None,
    "smoke_passed": False,
    "smoke_detail": "ModelError",
    "latency": None,
}
REFUSED = {
    "the champion": (
        {
            "challenger_digest": "old",
            "challenger": scores(),
            "smoke_passed": None,
        },
        "another model",
        "better than the champion",
    ),
    "rolled back": (
        {"rolled_back": "ann rolled back from version 2: complaints"},
        "not rolled back",
    ),
    "champion lost": (LOST, "champion at hand"),
    "bundle broken": (BROKEN, "scored in this run", "smoke test", "latency"),
    "other test set": ({"champion_test": "test2"}, "same test reviews"),
    "other reviews": (
        {"champion": scores().with_columns(pl.col("review_id") + "x")},
        "same test reviews",
    ),
    "fewer reviews": ({"champion": scores().head(199)}, "same test reviews"),
    "other bytes": ({"champion": scores().with_columns(pl.col("bytes") + 1)}, "same test reviews"),
    "champion not scored": ({"champion": None}, "same test reviews"),
    "a review twice": (
        {
            "challenger": TWICE,
            "champion": TWICE,
            "baseline": TWICE.with_columns(pl.col("nats") * 2),
        },
        "same test reviews",
        "not worse than the baseline",
    ),
    "other cleaning": (
        {"unfair_because": "the section 'clean' has changed"},
        "same reading of the text",
    ),
    "leak": ({"leak_free": False, "leak_detail": "test id2, train id30"}, "leak certificate"),
    "certificate of other reviews": ({"leak_test": "test2"}, "leak certificate"),
    "slow": ({"latency": Latency(80.0, 450.0, 30.0)}, "latency"),
    "large": ({"megabytes": 50.1}, "size"),
    "baseline better": ({"baseline": scores(0.85, seed=1)}, "not worse than the baseline"),
    "no baseline": ({"baseline": None}, "not worse than the baseline"),
    "baseline of fewer reviews": (
        {"baseline": scores(1.2, reviews=100)},
        "not worse than the baseline",
    ),
    "worse": ({"challenger": scores(1.02, seed=1)}, "better than the champion"),
    "equal": ({"challenger": scores()}, "better than the champion"),
    "recites": ({"audit": RECITES}, "novelty", "copied span", "exposure", "private patterns"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_rule_is_there_for_is_refused_by_it_alone(what):
    changes, *rules = REFUSED[what]
    decision = judge(STRICT, **{"megabytes": 12.0, **changes})
    assert_refused_by(decision, *rules)
    assert decision.reason.startswith(rule(decision, rules[0]).detail)


@pytest.mark.parametrize(
    ("policy", "name"),
    [
        ({"min_test_reviews": 201}, "enough reviews"),
        ({"min_gain_over_baseline": 0.5}, "not worse than the baseline"),
        ({"min_relative_gain": 0.099}, "better than the champion"),
    ],  # 10 % measured, but the interval reaches below
)
def test_a_stricter_policy_refuses_more(policy, name):
    assert judge().promote
    assert_refused_by(judge(PromotionConfig(**policy)), name)
    assert judge(PromotionConfig(min_relative_gain=0.07)).promote


@pytest.mark.parametrize(
    ("policy", "changes"),
    [
        ("allow_other_reading", {"unfair_because": "'clean' has changed"}),
        ("allow_rolled_back", {"rolled_back": "v2"}),
    ],
)
def test_a_policy_that_allows_it_promotes_all_the_same(policy, changes):
    assert judge(PromotionConfig(**{policy: True}), **changes).promote
    assert judge(**changes, **FIRST).promote is (policy == "allow_other_reading"), (
        "without a champion none is unfair"
    )


def test_better_by_noise():
    """Both are equally good; on these 200 reviews, whose scores differ by a third, the challenger happens to win."""
    champion, tries = (
        scores(noise=0.3, seed=1),
        (scores(noise=0.3, seed=seed) for seed in range(2, 50)),
    )
    lucky = next(
        one for one in tries if 0.01 < 1 - one["nats"].sum() / champion["nats"].sum() < 0.03
    )
    decision = judge(challenger=lucky, champion=champion)
    assert_refused_by(decision, "better than the champion")
    assert "not surely above 0.00%" in decision.reason


def test_better_over_all_but_worse_on_one_star_reviews():
    worse = (
        pl.when(pl.col("stars") == 1).then(pl.col("nats") * 1.08).otherwise(pl.col("nats") * 0.8)
    )
    decision = judge(challenger=scores(seed=1).with_columns(nats=worse))
    assert rule(decision, "better than the champion").passed
    assert_refused_by(decision, "no slice worse")
    assert "stars 1 (40 reviews)" in decision.reason


def test_the_champion_made_again_is_refused():
    """A fit of the same data and settings has other files, e.g. of another program version, but the same scores."""
    decision = judge(challenger=scores())

    assert_refused_by(decision, "better than the champion")
    assert rule(decision, "another model").passed is None


def test_a_model_with_the_champions_scores_is_the_same_model():
    assert judge(challenger=scores()).same_model


def test_a_model_with_other_scores_is_another_model():
    assert not judge(challenger=scores(seed=1)).same_model


def test_the_first_model_is_another_model():
    assert not judge(champion=None, champion_digest=None).same_model


def test_another_tokenizer():
    """A character model has five times the tokens and a fraction of their perplexity; bits per byte decide."""
    characters = scores(0.9, seed=1).with_columns(tokens=pl.col("bytes"))
    assert judge(challenger=characters).figures == judge().figures
    worse = judge(challenger=scores(1.1, seed=1).with_columns(tokens=pl.col("bytes")))
    assert not worse.promote
    ours = figures_of(scores(1.1).with_columns(tokens=pl.col("bytes")), unit="char", vocabulary="c")
    theirs = figures_of(scores(), unit="word", vocabulary="w")
    assert ours.perplexity < theirs.perplexity, "by tokens the worse model would have won"
    assert not comparable("perplexity", ours, theirs)
    assert comparable("open_bits_per_byte", ours, theirs)


START_ANEW = PromotionConfig(replace_lost_champion=True)


def test_a_lost_champion_is_replaced_if_the_policy_says_so():
    decision = judge(START_ANEW, **LOST)

    assert decision.promote
    assert "version 3, cannot be measured" in decision.reason


def test_a_lost_champion_is_replaced_only_by_a_model_that_breaks_no_rule():
    decision = judge(START_ANEW, **LOST, baseline=scores(0.8))

    assert_refused_by(decision, "better than the baseline")


def test_a_champion_that_is_not_lost_must_be_beaten_under_any_policy():
    decision = judge(START_ANEW, challenger=scores())

    assert_refused_by(decision, "better than the champion")


def test_a_lost_champion_that_was_made_again_can_take_its_own_place():
    again = {**LOST, "challenger_digest": "old"}
    assert_refused_by(judge(**again), "champion at hand")
    assert judge(PromotionConfig(replace_lost_champion=True), **again).promote


@pytest.mark.parametrize(
    ("lacking", "name"),
    [
        ({"audit": None}, "novelty"),
        ({"audit": None}, "copied span"),
        ({"audit": None}, "exposure"),
        ({"audit": None}, "private patterns"),
        ({"audit": {**HONEST, "exposure_max": None}}, "exposure"),
        ({"latency": None}, "latency"),
        ({"megabytes": None}, "size"),
        ({"smoke_passed": None}, "smoke test"),
        ({"checks_passed": None}, "data checks"),
        ({"leak_free": None}, "leak certificate"),
        ({"challenger_departure": None}, "scored in this run"),
        ({"champion_departure": None}, "scored in this run"),
    ],
)
def test_missing_evidence_counts_against_the_challenger(lacking, name):
    decision = judge(STRICT, **{"megabytes": 12.0, **lacking})
    assert not decision.promote
    assert rule(decision, name).passed is False


def test_every_rule_is_in_the_decision_once():
    names = [each.name for each in judge().rules]
    assert len(names) == len(set(names)) == len(LanguageCase.RULES)


def with_score(
    value,
    level=1.0,
    review="r00003",
):
    """Scores of which one is *value*."""
    return scores(level).with_columns(
        nats=pl.when(pl.col("review_id") == review).then(value).otherwise(pl.col("nats"))
    )


@pytest.mark.parametrize(
    ("whose", "bad"),
    [
        ("challenger", math.nan),
        ("challenger", math.inf),
        ("champion", math.nan),
        ("champion", -math.inf),
    ],
)
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
    decision = judge(
        champion=with_score(math.inf), challenger=with_score(math.inf, 0.5, review="r00004")
    )
    assert not decision.promote
    assert rule(decision, "finite figures").passed is False
    assert rule(decision, "better than the champion").passed is False


def test_without_a_champion_a_model_that_breaks_no_rule_is_promoted():
    decision = judge(**FIRST)
    assert decision.promote
    assert decision.champion is None
    assert rule(decision, "better than the champion").outcome == "not applicable"
    worse = judge(**FIRST, challenger=scores(1.3))
    assert_refused_by(worse, "better than the baseline")
    assert "although" not in worse.reason
    better = judge(baseline=scores(0.85, seed=1)).reason
    assert "although it is better than the champion" in better


def test_a_first_model_that_is_the_baseline_is_not_called_compared():
    decision = judge(
        **FIRST,
        challenger_digest="kn5",
        baseline_digest="kn5",
    )
    assert decision.promote
    assert "baseline itself" in decision.reason


@pytest.mark.parametrize("over_baseline", [-0.01, 0.0, 0.005])
def test_a_model_surely_better_than_the_champion_need_not_surely_beat_the_baseline(over_baseline):
    """10 % better than the champion, and about as good as the baseline: a refusal would keep the worst of the three."""
    baseline = scores(0.9 / (1 - over_baseline), noise=0.05, seed=2)
    decision = judge(baseline=baseline)
    assert decision.promote
    found = rule(decision, "not worse than the baseline")
    assert found.passed
    assert found.value > 0
    assert rule(decision, "better than the baseline").passed is None
    assert_refused_by(judge(**FIRST, baseline=baseline), "better than the baseline")


def test_a_baseline_that_calls_a_review_impossible_is_not_better():
    for bad, passed in ((math.inf, True), (math.nan, False)):
        decision = judge(baseline=with_score(bad))
        assert rule(decision, "not worse than the baseline").passed is passed
        assert decision.promote is passed


def test_a_vocabulary_that_hides_words_behind_unk_wins_nothing():
    hiding = scores(0.5).with_columns(spelling_nats=pl.col("nats") * 1.2)
    decision = judge(challenger=hiding)
    assert not decision.promote
    assert rule(decision, "better than the champion").passed is False
    assert "open bits per byte" in decision.metric


def test_equal_evidence_in_any_order_gives_the_same_bytes():
    shuffled = scores().sample(
        fraction=1.0,
        shuffle=True,
        seed=1,
    )
    mixed = judge(challenger=scores(0.9, seed=1).reverse(), champion=shuffled)
    assert mixed.to_json() == judge().to_json() == judge().to_json()


def test_a_decision_survives_json():
    for decision in (
        judge(),
        judge(champion=None, champion_digest=None),
        judge(challenger=scores(math.nan)),
    ):
        assert Decision.from_json(decision.to_json()) == decision


# --- When a gain is sure: few reviews, groups of them, losses that no sample shows, and a first champion


def told(reviews=200, **columns):
    """What is known of the test reviews besides their scores."""
    return pl.DataFrame({"review_id": scores(reviews=reviews)["review_id"], **columns})


def level(
    reviews,
    gain,
    noise=0.004,
):
    """A challenger that is as good as the champion, but for this gain, on every review alike."""
    return {
        "challenger": scores(1 - gain, reviews, noise, seed=1),
        "champion": scores(reviews=reviews),
        "baseline": scores(1.5, reviews),
    }


def test_a_small_gain_on_every_one_of_thirty_reviews_is_not_sure():
    """More than half of such samples lack what happens on one review in fifty, however bad it is."""
    decision = judge(**level(30, 0.02))
    assert_refused_by(decision, "better than the champion")
    assert "to decide, test on more reviews" in decision.reason
    assert judge(PromotionConfig(max_review_loss=0), **level(30, 0.02)).promote, (
        "who takes it on trust says so"
    )
    assert judge(**level(3_000, 0.02)).promote


def test_a_large_gain_on_thirty_reviews_is():
    assert judge(**level(30, 0.3)).promote


def least_sure_gain_of(case: LanguageCase) -> float:
    return case.least_gain_over(case.champion_rows)


def test_the_least_gain_that_can_be_sure_is_told():
    """1 − (0.8 · 0.025)^(1/n) of the text may be twice as dear, n being the number of reviews."""
    case = LanguageCase.of(PromotionConfig(), evidence(**level(100, 0.02)))
    size = scores(reviews=100)["bytes"].to_numpy().astype(float)
    assert case.effective_groups == pytest.approx(size.sum() ** 2 / (size**2).sum())
    weight = 1 - 0.02 ** (1 / 100)
    least = least_sure_gain_of(case)
    assert least == pytest.approx(weight / (1 - weight))
    said = rule(judge(**level(100, 0.02)), "better than the champion").detail
    assert f"no gain below {least:.2%} is sure" in said


@pytest.mark.parametrize(("times", "passes"), [(0.9, False), (1.1, True)])
def test_the_least_gain_that_can_be_sure_is_what_passes(times, passes):
    case = LanguageCase.of(PromotionConfig(), evidence(**level(100, 0.02)))
    tight = level(100, times * least_sure_gain_of(case), noise=1e-4)
    assert judge(**tight, resamples=1_000).promote is passes


def decision_by_businesses(count):
    """Judge a challenger that is far better on 300 reviews of the given number of businesses."""
    grouped = told(300, group=np.arange(300) % count)
    return judge(
        **level(300, 0.3),
        reviews=grouped,
        grouped_by="business",
    )


def test_many_reviews_of_few_businesses_are_too_little_evidence():
    """300 reviews of 29 businesses are fewer than 30 pieces of evidence."""
    decision = decision_by_businesses(29)

    assert_refused_by(decision, "enough reviews")
    assert (
        "300 test reviews in 29 groups (business), at least 30 groups are needed" in decision.reason
    )
    assert "more reviews" in decision.reason


def test_reviews_of_enough_businesses_are_enough_evidence():
    decision = decision_by_businesses(60)

    assert decision.promote
    assert decision.figures["test reviews without copies"] == 60
    assert 50 < decision.figures["test reviews without copies, weighted by size"] < 60


def test_copies_of_reviews_make_no_gain_surer():
    """Each review ten times, in one group: the interval is that of the reviews once, to the last digit shown."""
    noisy = {
        "challenger": scores(0.96, 60, 0.15, seed=5),
        "champion": scores(reviews=60),
        "baseline": scores(2, 60),
    }
    once = judge(**noisy)
    copied = {
        name: pl.concat(
            rows.with_columns(pl.format("{}-{}", "review_id", pl.lit(n))) for n in range(10)
        )
        for name, rows in noisy.items()
    }
    together = copied["champion"].select(
        "review_id", group=pl.col("review_id").str.head(6).rank("dense")
    )
    grouped, apart = judge(**copied, reviews=together), judge(**copied)
    ends = [rule(one, "better than the champion").value for one in (once, grouped, apart)]
    assert ends[1] == pytest.approx(ends[0])
    assert ends[2] > ends[0] + 0.01
    assert not grouped.promote
    assert apart.promote, "which is what groups are for"


@pytest.mark.parametrize("businesses", ["one", "many"])
def test_a_slice_shows_its_loss_only_where_it_is_of_many_businesses(businesses):
    factor = pl.when(pl.col("stars") == 1).then(1.1).otherwise(0.7)
    worse = scores(seed=1).with_columns(nats=pl.col("nats") * factor)
    ones = (scores()["stars"] == 1).to_numpy()
    groups = np.where(ones, 0, np.arange(200)) if businesses == "one" else np.arange(200) // 2

    case = LanguageCase.of(
        PromotionConfig(), evidence(challenger=worse, reviews=told(group=groups))
    )

    row = case.slice_losses().row(0, named=True)
    assert (row["slice"], row["reviews"]) == ("1", 40)
    assert (row["surely"] > 0) is (businesses == "many")


def with_copies(rows):
    """Add a copy of each review, under another name."""
    return pl.concat([rows, rows.with_columns(pl.col("review_id") + "x")])


def test_copies_of_reviews_make_the_loss_of_a_slice_no_surer():
    by_stars = PromotionConfig(slice_dimensions=("stars",))
    challenger = scores(1.05, noise=0.3, seed=1)
    champion = with_copies(scores())
    together = champion.select("review_id", group=pl.col("review_id").str.head(6).rank("dense"))

    single = LanguageCase.of(by_stars, evidence(challenger=challenger, champion=scores()))
    double = LanguageCase.of(
        by_stars,
        evidence(
            challenger=with_copies(challenger),
            champion=champion,
            reviews=together,
        ),
    )

    assert double.slice_losses()["surely"].to_list() == pytest.approx(
        single.slice_losses()["surely"].to_list()
    )


def test_a_first_champion_must_surely_beat_the_baseline():
    lucky = scores(0.999, noise=0.3, seed=4)
    close = judge(
        **FIRST,
        challenger=lucky,
        baseline=scores(1.02),
    )
    assert_refused_by(close, "better than the baseline")
    assert "not surely above 0.00%" in close.reason
    assert judge(
        **FIRST,
        challenger=scores(0.9, seed=1),
        baseline=scores(),
    ).promote


def test_a_loss_larger_than_allowed_for_is_warned_of():
    ours = scores(0.5).with_columns(
        nats=pl.when(pl.col("review_id") == "r00007")
        .then(pl.col("nats") * 5)
        .otherwise(pl.col("nats"))
    )
    decision = judge(challenger=ours)
    [warning] = decision.warnings
    assert warning.startswith(
        "on 1 of 200 test reviews the challenger needs up to 2.5 times the other model's bits"
    )
    assert literal(f"warning: {warning}") in decision.to_markdown()
    assert "warning: on 1 of 200 test reviews" in decision.to_markdown()
    assert json.loads(decision.to_json())["warnings"] == [warning]
    assert Decision.from_json(decision.to_json()) == decision
    assert judge().warnings == ()


def alike(
    spread,
    reviews=400,
    size=4,
):
    """A challenger better by 4 %, whose difference has a part that all reviews of a user share."""
    random = np.random.default_rng(3)
    factor = 0.96 + spread * random.normal(size=reviews // size)[np.arange(reviews) // size]
    factor = factor + 0.02 * random.normal(size=reviews)
    challenger = scores(reviews=reviews).with_columns(nats=pl.col("nats") * pl.Series(factor))
    return {
        "challenger": challenger,
        "champion": scores(reviews=reviews),
        "baseline": scores(1.5, reviews),
        "reviews": told(reviews, user_id=[f"u{n // size}" for n in range(reviews)]),
    }


def test_reviews_of_one_user_that_resemble_each_other_are_warned_of_unless_they_are_drawn_together():
    [warning] = judge(**alike(0.05)).warnings
    assert warning.startswith(
        "reviews of one user resemble each other: for other users the gain's variance"
    )
    assert warning.endswith('to decide for them, set split.by = "user"')
    assert judge(**alike(0.0)).warnings == ()
    drawn = alike(0.05)
    drawn["reviews"] = drawn["reviews"].with_columns(group=pl.col("user_id").rank("dense"))
    assert judge(**drawn).warnings == ()
