"""Single rules of the gate, against figures worked out by hand."""

import math
from datetime import date

import numpy as np
import polars as pl
import pytest
from scipy.stats import t as student

from reviewlm.core.config.sections.evaluation import PromotionConfig
from reviewlm.core.lineage import NOT_KNOWN, Family
from reviewlm.evaluation.gate.evidence import ChampionReviews, departure
from reviewlm.evaluation.gate.language import LanguageCase
from reviewlm.evaluation.scoring.metrics import LN2
from tests.evaluation.challengers import HONEST, assert_refused_by, evidence, judge, rule, scores


def losses(policy=None, **changes):
    return LanguageCase.of(policy or PromotionConfig(), evidence(**changes)).slice_losses()


def told(**columns):
    """What is known of the 200 test reviews besides their scores."""
    return pl.DataFrame({"review_id": scores()["review_id"], **columns})


def test_the_loss_of_a_slice_is_a_ratio_estimate():
    ours, theirs = scores(1.02, seed=3, noise=0.1), scores()
    table = losses(PromotionConfig(slice_dimensions=("stars",)), challenger=ours, champion=theirs)
    assert sorted(table["slice"]) == ["1", "2", "3", "4", "5"]
    for row in table.to_dicts():
        chosen = (theirs["stars"] == int(row["slice"])).to_numpy()
        y, x = ours["nats"].to_numpy()[chosen], theirs["nats"].to_numpy()[chosen]
        ratio, count = y.sum() / x.sum(), len(x)
        error = math.sqrt(((y - ratio * x) ** 2).sum() * count / (count - 1)) / x.sum()
        assert row["loss"] == pytest.approx(ratio - 1)
        assert row["surely"] == pytest.approx(
            ratio - 1 - student.ppf(1 - 0.025 / 5, count - 1) * error
        )


@pytest.fixture
def slices() -> pl.DataFrame:
    """Slice 200 reviews, one without a month, half of them with two categories."""
    months = [date(2021, 1 + i % 3, 2) for i in range(199)] + [None]
    kinds = [("Bars, Pubs", "Pubs,Bars")[i % 4 // 2] if i % 2 else "Bars" for i in range(200)]
    return losses(PromotionConfig(min_slice_reviews=2), reviews=told(date=months, categories=kinds))


@pytest.mark.parametrize(
    ("dimension", "reviews"), [("stars", 200), ("length", 200), ("month", 199)]
)
def test_a_review_stands_in_one_slice_of_a_dimension(
    slices,
    dimension,
    reviews,
):
    assert slices.filter(dimension=dimension)["reviews"].sum() == reviews


def test_a_review_stands_in_the_slice_of_each_of_its_categories(slices):
    of_categories = slices.filter(dimension="category")

    assert of_categories["reviews"].sum() == 300
    assert set(of_categories["slice"]) == {"Bars", "Pubs"}


def test_slices_of_months_are_named_by_year_with_month(slices):
    assert set(slices.filter(dimension="month")["slice"]) == {"2021-01", "2021-02", "2021-03"}


def test_slices_are_of_four_dimensions(slices):
    assert set(slices["dimension"]) == {"stars", "length", "month", "category"}


@pytest.mark.parametrize("dimension", ["month", "category"])
def test_a_challenger_that_is_worse_on_a_month_or_a_category_is_refused(dimension):
    chosen = np.arange(200) % 4 == 0
    reviews = told(
        date=[date(2020, 5, 1) if one else date(2020, 6, 1) for one in chosen],
        categories=["Sushi" if one else "Diners" for one in chosen],
    )
    worse = scores(seed=1).with_columns(nats=pl.col("nats") * pl.Series(np.where(chosen, 1.2, 0.7)))
    policy = PromotionConfig(slice_dimensions=(dimension,))
    decision = judge(policy, challenger=worse, reviews=reviews)
    assert_refused_by(decision, "no slice worse")
    assert {"month": "month 2020-05", "category": "category Sushi"}[dimension] in decision.reason
    assert judge(policy, challenger=worse, reviews=None).promote, (
        "of what is not known there are no slices"
    )


@pytest.mark.parametrize(
    ("learnt", "promoted", "judged"), [(0, False, 200), (60, True, 140), (180, False, 200)]
)
def test_what_the_champion_was_trained_on_is_no_merit_if_enough_other_reviews_are_left(
    learnt,
    promoted,
    judged,
):
    """The champion knows the first 60 reviews by heart; on the others the challenger is 10 % better."""
    known = scores().with_columns(
        nats=pl.col("nats") * pl.Series(np.where(np.arange(200) < 60, 0.2, 1.0))
    )
    decision = judge(champion=known, champion_learnt=known["review_id"].head(learnt))
    assert (decision.promote, decision.figures["test reviews"]) == (promoted, judged)
    told = rule(decision, "leak certificate").detail
    assert ("the champion was trained on" in told or "that the champion was" in told) == bool(
        learnt
    )


def test_nothing_is_judged_on_reviews_that_the_champion_remembers():
    """With 20 other reviews, fewer than 30, a gain or loss would be that of the champion's memory."""
    half_known = np.arange(200) < 180
    for factor in (0.2, 5.0):
        known = scores().with_columns(nats=pl.col("nats") * np.where(half_known, factor, 1.0))
        decision = judge(champion=known, champion_learnt=known["review_id"].head(180))
        assert_refused_by(decision, "enough reviews")
        assert "not judged: the champion was trained on 180 of the 200" in decision.reason
        assert not [name for name in decision.figures if name.startswith(("gain", "champion"))]
        for name in ("better than the champion", "no slice worse"):
            assert rule(decision, name).passed is None
    few = PromotionConfig(min_test_reviews=20)
    assert judge(few, champion=known, champion_learnt=known["review_id"].head(180)).figures[
        "gain over the champion"
    ]


def test_a_loss_above_the_limit_that_may_be_luck_refuses_nothing():
    """6 % worse on 40 reviews whose differences are 60 % up or down: half a standard error."""
    ones = (scores()["stars"] == 1).to_numpy()
    factor = np.where(ones, np.where(np.random.default_rng(2).random(200) < 0.5, 0.4, 1.6), 0.6)
    nats = scores()["nats"].to_numpy()
    factor[ones] *= 1.06 * nats[ones].sum() / (factor * nats)[ones].sum()
    decision = judge(challenger=scores().with_columns(nats=pl.Series(factor * nats)))
    found = rule(decision, "no slice worse")
    assert found.passed
    assert found.value == pytest.approx(0.06)
    assert "which may be chance" in found.detail


def floor(level, reviews=200):
    """What the reviews cost a process that needs *level* times what the champion needs."""
    return scores(level, reviews=reviews).select("review_id", "bytes", "nats")


def test_the_gap_to_the_floor_is_that_of_the_reviews_that_have_one():
    judged = floor(0.5).with_columns(nats=pl.when(pl.int_range(200) < 150).then(pl.col("nats")))
    first = scores(0.9).head(150)
    gap = 0.4 / 0.9 * first["nats"].sum() / first["bytes"].sum() / LN2
    decision = judge(challenger=scores(0.9), floor=judged)
    assert decision.promote
    assert rule(decision, "not below the floor").detail.startswith(
        f"{gap:+.4f} bits per byte above"
    )


def test_the_value_of_the_floor_rule_is_the_upper_end_of_the_interval_that_it_shows():
    found = rule(judge(challenger=scores(0.9), floor=floor(0.5)), "not below the floor")
    assert found.detail.endswith(f"to {found.value:+.4f})")
    assert found.row()[2].startswith("gap, at most ")


def test_a_model_surely_below_the_floor_cannot_be_right():
    decision = judge(floor=floor(0.93))
    assert_refused_by(decision, "not below the floor")
    assert "no model can be below" in decision.reason


DRIFTED = "the new reviews have drifted: stars"


def test_drift_is_noted():
    assert rule(judge(drift=DRIFTED), "drift").detail.endswith("drifted: stars")


def test_drift_that_is_unknown_is_noted():
    assert rule(judge(), "drift").detail == "it is not known whether the reviews have drifted"


def test_drift_refuses_no_model():
    assert judge(drift=DRIFTED).promote


def test_scores_that_are_not_those_of_the_store_are_refused():
    assert judge(challenger_departure=9e-4).promote
    for whose in ("challenger", "champion"):
        decision = judge(**{f"{whose}_departure": 0.002})
        assert_refused_by(decision, "scored in this run")
        assert (
            f"the {whose}'s scores differ from the stored ones by at most 2.0e-03"
            in decision.reason
        )
    assert_refused_by(judge(champion_departure=math.nan), "scored in this run")


@pytest.mark.parametrize(
    ("copied", "real", "passed"),
    [
        (0.03, 0.02, True),
        (0.51, 0.02, True),
        (0.52, 0.02, False),
        (0.7, 0.5, True),
        (0.76, 0.5, False),
        (0.99, 1.0, None),
    ],
)
def test_novelty_is_the_share_of_new_passages_relative_to_real_reviews(
    copied,
    real,
    passed,
):
    audit = {"copied_passages": copied, "real_copied_passages": real}
    found = rule(judge(PromotionConfig(min_novelty=0.5), audit=audit), "novelty")
    assert found.passed is passed
    # Value and limit are shares of passages, as those that the sentence names.
    if passed is not None:
        assert (found.value, found.limit) == pytest.approx((1 - copied, 0.5 * (1 - real)))
        assert f"{found.value:.1%}" in found.detail
        assert f"{2 * found.limit:.1%}" in found.detail


def test_where_no_canary_was_planted_exposure_is_not_applicable_unless_the_policy_asks_for_it():
    audit = {
        **HONEST,
        "canaries": 0,
        "exposure_max": None,
    }
    assert rule(judge(PromotionConfig(max_exposure=None), audit=audit), "exposure").passed is None
    assert rule(judge(PromotionConfig(max_exposure=8), audit=audit), "exposure").passed is False
    assert rule(judge(audit=audit), "known secrets").passed is None
    off = rule(
        judge(PromotionConfig(max_exposure=None), audit=audit, single_review_model="kn5"),
        "exposure",
    )
    assert off.passed is None


def secrets(known, planted=10):
    audit = {
        **HONEST,
        "canaries_known": known,
        "canaries_once": planted,
    }
    return rule(judge(audit=audit), "known secrets")


@pytest.mark.parametrize(
    ("known", "planted", "limit", "passed"),
    [
        (0, 10, 2, True),
        (2, 10, 2, True),
        (3, 10, 2, False),
        (10, 10, 2, False),
        (4, 24, 4, True),
        (5, 24, 4, False),
        (0, 4, 0, True),
        (1, 4, 0, False),
    ],
)
def test_a_model_may_know_at_most_two_of_ten_canaries_by_heart(
    known,
    planted,
    limit,
    passed,
):
    found = secrets(known, planted)
    assert (found.passed, found.value, found.limit) == (passed, known, limit)


@pytest.mark.parametrize(("known", "said"), [(0, "none"), (1, "1"), (2, "2"), (10, "10")])
def test_the_reason_says_how_many_canaries_are_known(known, said):
    assert secrets(known).detail.startswith(f"{said} of 10 ")


@pytest.mark.parametrize(
    ("audit", "single_review_model", "passed"),
    [
        ({}, "", True),
        ({}, "kn5", False),  # canaries of frequent words do not show what pairs of rare words tell
        ({"canaries_known": 10}, "", False),
        ({"canaries_known": 10}, "kn5", False),
        (
            {
                "canaries": 0,
                "canaries_once": 0,
                "canaries_known": 0,
            },
            "kn5",
            False,
        ),
        (
            {
                "canaries": 0,
                "canaries_once": 0,
                "canaries_known": 0,
            },
            "",
            None,
        ),
        ({"canaries_once": 0, "canaries_known": 0}, "kn5", False),  # planted several times only
        ({"canaries_once": 0, "canaries_known": 0}, "", None),
        ({"canaries_known": 10, "exposure_limit": 6.66}, "kn5", False),  # too few candidates
        ({"canaries_known": 10, "exposure_limit": 6.66}, "", None),
        (None, "kn5", False),
        (None, "", None),
    ],
)
def test_a_table_that_holds_what_one_review_says_is_refused_whatever_was_measured(
    audit,
    single_review_model,
    passed,
):
    facts = None if audit is None else {**HONEST, **audit}
    found = rule(judge(audit=facts, single_review_model=single_review_model), "known secrets")
    assert found.passed is passed
    assert ("models.kn5.min_documents=2" in found.detail) is bool(single_review_model)


def test_a_model_of_short_lines_is_judged_by_whole_lines():
    audit = {
        **HONEST,
        "copied_passages": 0.2,
        "real_copied_passages": 0.0,
    }
    found = rule(judge(audit=audit), "novelty")
    assert (found.passed, found.value) == (True, pytest.approx(0.8))
    assert rule(judge(audit={**audit, "copied_passages": 0.7}), "novelty").passed is False
    nothing = rule(judge(audit={**audit, "copied_passages": None}), "novelty")
    assert nothing.passed is False
    assert "no words" in nothing.detail
    assert rule(judge(audit={"copied_8": 0.2, "real_copied_8": 0.0}), "novelty").passed is False


# --- The gate on other data than the champion's: another family, and what the champion knew

REVIEWS, PAINT = Family("reviews", "s1"), Family("paint", "s2")


def on_champions(
    level=1.0,
    reviews=200,
    noise=0.02,
    seed=2,
    left_out=(0, 0),
    **changes,
):
    """Scores of both on the champion's own reviews; the challenger needs *level* times the bits, but for noise."""
    theirs = scores(reviews=reviews).with_columns(
        pl.format("old-{}", "review_id").alias("review_id")
    )
    ours = scores(level, reviews, noise, seed).with_columns(
        pl.format("old-{}", "review_id").alias("review_id")
    )
    found = {
        "challenger": ours,
        "champion": theirs,
        **changes,
    }
    return ChampionReviews(reviews + sum(left_out), *left_out, **found)


# The family


def test_a_challenger_of_another_family_is_refused_however_good_it_is():
    """As 3,000 paint names once replaced the champion of the reviews, "84.82 % better"."""
    decision = judge(
        challenger=scores(0.15, seed=1),
        family=PAINT,
        champion_family=REVIEWS,
    )
    assert_refused_by(decision, "same data family")
    assert "family 'paint', the champion from 'reviews'" in decision.reason
    assert "promotion.model_name" in decision.reason
    assert "promotion.allow_other_family" in decision.reason


@pytest.mark.parametrize(("sources", "said"), [("s1", "the same files"), ("s9", "other files")])
def test_within_a_family_the_sources_may_differ(sources, said):
    decision = judge(family=Family("reviews", sources), champion_family=REVIEWS)
    assert decision.promote
    assert said in rule(decision, "same data family").detail


def test_a_champion_of_which_nobody_knows_the_data_is_not_replaced_unasked():
    assert_refused_by(judge(champion_family=NOT_KNOWN), "same data family")
    assert_refused_by(judge(family=NOT_KNOWN, champion_family=NOT_KNOWN), "same data family")
    assert judge(PromotionConfig(allow_other_family=True), champion_family=NOT_KNOWN).promote


# What the champion knew


def test_a_better_model_that_forgot_the_champions_reviews_is_refused():
    decision = judge(champion_reviews=on_champions(1.2))
    assert_refused_by(decision, "no forgetting")
    assert "on 200 of the champion's own 200 test reviews: 20" in decision.reason
    outcome = rule(decision, "no forgetting")
    assert outcome.limit == 0.01
    assert 0.15 < outcome.value < 0.2, "the lower end of a loss of 20 %"


@pytest.mark.parametrize("level", [0.9, 1.0, 1.005])
def test_what_is_hardly_worse_at_most_passes(level):
    decision = judge(champion_reviews=on_champions(level))
    assert decision.promote
    assert decision.figures["champion's reviews, loss"] == pytest.approx(level - 1, abs=0.01)


def test_the_loss_is_the_share_of_bits_on_top_of_the_champions():
    """One review of 700 nats and one of 300: 770 + 300 against 1,000 is a loss of 7 %."""
    rows = scores(reviews=2).with_columns(nats=pl.Series([700.0, 300.0]))
    ours = rows.with_columns(nats=pl.Series([770.0, 300.0]))
    found = ChampionReviews(2, challenger=ours, champion=rows.reverse())
    decision = judge(PromotionConfig(min_test_reviews=2), champion_reviews=found)
    assert decision.figures["champion's reviews, loss"] == pytest.approx(0.07)


def times_refused(level: float) -> int:
    """Return how often such a loss is refused in 200 pairs of 300 reviews with 12 % noise a review."""
    refused = 0
    for seed in range(1, 201):
        decision = judge(champion_reviews=on_champions(level, 300, 0.12, seed), resamples=300)
        refused += rule(decision, "no forgetting").passed is False
    return refused


@pytest.mark.long
def test_a_loss_of_just_the_limit_is_refused_as_rarely_as_the_policy_allows():
    """Of 200 pairs 2.5 % is 5, give or take 2.2.

    Equal models, 1 % within the limit, are refused more rarely still.
    """
    assert times_refused(1.01) <= 9


@pytest.mark.long
def test_a_loss_far_above_the_limit_is_refused_nearly_always():
    """A loss of 5 % is 4 above the limit."""
    assert times_refused(1.05) >= 190


def test_what_the_challenger_learnt_from_is_told():
    decision = judge(champion_reviews=on_champions(1.2, left_out=(40, 3)))

    assert "on 200 of the champion's own 243 test reviews" in decision.reason
    assert "(the challenger learnt from the others: 40 by id, 3 by text)" in decision.reason


def test_too_few_reviews_of_the_champion_decide_nothing():
    few = judge(champion_reviews=on_champions(1.2, reviews=29, left_out=(400, 0)))

    assert few.promote
    assert rule(few, "no forgetting").detail.endswith("too few to judge")


def test_a_challenger_that_learnt_from_all_reviews_of_the_champion_is_not_judged_by_them():
    none = ChampionReviews(
        400,
        400,
        0,
        challenger=scores().clear(),
        champion=scores().clear(),
    )

    assert judge(champion_reviews=none).promote


@pytest.mark.parametrize(
    "missing", [None, ChampionReviews(problem="the prepared data 'd1' are not in this store")]
)
def test_reviews_that_are_gone_count_against_the_challenger_unless_the_policy_has_no_limit(missing):
    assert_refused_by(judge(champion_reviews=missing), "no forgetting")
    assert judge(PromotionConfig(max_champion_loss=None), champion_reviews=missing).promote


def test_scores_of_other_reviews_or_that_are_no_numbers_count_against_it():
    found = on_champions(0.9)
    other = found.challenger.with_columns(bytes=pl.col("bytes") + 1)
    assert_refused_by(judge(champion_reviews=on_champions(0.9, challenger=other)), "no forgetting")
    first = pl.int_range(pl.len()) == 0
    for bad in (math.nan, math.inf):
        nats = pl.when(first).then(bad).otherwise(pl.col("nats"))
        ours, theirs = (
            found.challenger.with_columns(nats=nats),
            found.champion.with_columns(nats=nats),
        )
        assert_refused_by(judge(champion_reviews=on_champions(challenger=ours)), "no forgetting")
        passed = rule(
            judge(champion_reviews=on_champions(0.9, champion=theirs)), "no forgetting"
        ).passed
        assert passed is (bad == math.inf), (
            "a champion that calls a review impossible has nothing to lose there"
        )


def test_the_departure_of_two_scorings():
    once = scores()
    assert departure(once, once.reverse()) == 0
    one_more = once.with_columns(
        nats=pl.when(pl.col("review_id") == "r00007")
        .then(pl.col("nats") * 1.25)
        .otherwise(pl.col("nats"))
    )
    assert departure(one_more, once) == pytest.approx(0.25)
    assert departure(once.head(199), once) == math.inf
    never = once.with_columns(nats=pl.lit(math.inf))
    assert departure(never, never) == 0
    assert departure(once, never) == departure(never, once) == math.inf
