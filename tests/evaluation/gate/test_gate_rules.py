"""Single rules of the gate, against figures worked out by hand."""

import math
from datetime import date

import numpy as np
import polars as pl
import pytest
from scipy.stats import t as student

from core.config.presets import load_config
from core.config.sections.promotion import PromotionConfig
from core.errors import ConfigError
from evaluation.gate.evidence import departure
from evaluation.gate.language import LanguageCase, not_below_floor
from evaluation.gate.rules import better_than_champion
from evaluation.scoring.metrics import LN2
from evaluation.statistics.slices import review_slicings
from tests.evaluation.challengers import FIRST, HONEST, assert_refused_by, evidence, judge, rule, scores


def losses(policy=None, **changes):
    return LanguageCase.of(policy or PromotionConfig(), evidence(**changes)).slice_losses()


def told(**columns):
    """What is known of the 200 test reviews besides their scores."""
    return pl.DataFrame({"review_id": scores()["review_id"], **columns})


def test_the_loss_of_a_slice_and_its_lower_end_are_those_of_a_ratio_estimate():
    ours, theirs = scores(1.02, seed=3, noise=0.1), scores()
    table = losses(PromotionConfig(slice_dimensions=("stars",)), challenger=ours, champion=theirs)
    assert sorted(table["slice"]) == ["1", "2", "3", "4", "5"]
    for row in table.to_dicts():
        chosen = (theirs["stars"] == int(row["slice"])).to_numpy()
        y, x = ours["nats"].to_numpy()[chosen], theirs["nats"].to_numpy()[chosen]
        ratio, count = y.sum() / x.sum(), len(x)
        error = math.sqrt(((y - ratio * x) ** 2).sum() * count / (count - 1)) / x.sum()
        assert row["loss"] == pytest.approx(ratio - 1)
        assert row["surely"] == pytest.approx(ratio - 1 - student.ppf(1 - 0.025 / 5, count - 1) * error)


def test_a_review_stands_in_one_slice_of_stars_and_length_and_month_and_in_several_of_category():
    months = [date(2021, 1 + i % 3, 2) for i in range(199)] + [None]
    kinds = [("Bars, Pubs", "Pubs,Bars")[i % 4 // 2] if i % 2 else "Bars" for i in range(200)]
    policy = PromotionConfig(min_slice_reviews=2)
    table = losses(policy, reviews=told(date=months, categories=kinds))
    sizes = table.group_by("dimension").agg(pl.col("reviews").sum()).to_dict(as_series=False)
    assert dict(zip(sizes["dimension"], sizes["reviews"], strict=True)) == {
        "stars": 200, "length": 200, "month": 199, "category": 300
    }
    assert set(table.filter(dimension="month")["slice"]) == {"2021-01", "2021-02", "2021-03"}
    assert set(table.filter(dimension="category")["slice"]) == {"Bars", "Pubs"}


def test_reviews_without_stars_are_one_slice_under_the_name_that_tables_give_it():
    frame = scores().with_columns(stars=pl.when(pl.col("stars") == 1).then(0).otherwise(pl.col("stars")))
    table = losses(PromotionConfig(slice_dimensions=("stars",)), champion=frame, challenger=frame)
    assert sorted(table["slice"]) == ["2", "3", "4", "5", "unknown"]
    [tables] = [one for one in review_slicings(frame, 30, 2) if one.dimension == "stars"]
    assert set(tables.names) == set(table["slice"])


def test_bands_of_length_are_closed_above():
    words = [25, 26, 50, 51, 100, 101, 200, 201] * 25
    frame = scores().with_columns(words=pl.Series(words))
    policy = PromotionConfig(slice_dimensions=("length",), min_slice_reviews=2)
    table = losses(policy, champion=frame, challenger=frame)
    assert dict(table.select("slice", "reviews").iter_rows()) == {
        "1 to 25 words": 25, "26 to 50 words": 50, "51 to 100 words": 50, "101 to 200 words": 50, "over 200 words": 25
    }


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
    assert judge(policy, challenger=worse, reviews=None).promote, "of what is not known there are no slices"


def test_a_loss_above_the_limit_that_may_be_luck_refuses_nothing_and_is_told():
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


def test_a_loss_that_is_sure_but_within_the_limit_refuses_nothing():
    slightly = pl.when(pl.col("stars") == 1).then(pl.col("nats") * 1.04).otherwise(pl.col("nats") * 0.7)
    decision = judge(challenger=scores().with_columns(nats=slightly))
    assert decision.promote
    assert rule(decision, "no slice worse").detail.startswith("worst at stars 1 (40 reviews): 4.00% worse")
    assert_refused_by(
        judge(PromotionConfig(max_slice_loss=0.03), challenger=scores().with_columns(nats=slightly)), "no slice worse"
    )


def test_more_slices_make_the_interval_of_each_wider():
    few = losses(PromotionConfig(slice_dimensions=("stars",)))
    many = losses(PromotionConfig(min_slice_reviews=2), reviews=told(categories=[f"c{i % 50}" for i in range(200)]))
    both = few.join(many.filter(dimension="stars"), on="slice")
    assert (both["surely_right"] < both["surely"]).all()
    assert both["loss"].to_list() == pytest.approx(both["loss_right"].to_list())


def floor(level, reviews=200):
    """What the reviews cost a process that needs *level* times what the champion needs."""
    return scores(level, reviews=reviews).select("review_id", "bytes", "nats")


def test_the_gap_to_the_floor_is_that_of_the_reviews_that_have_one():
    judged = floor(0.5).with_columns(nats=pl.when(pl.int_range(200) < 150).then(pl.col("nats")))
    first = scores(0.9).head(150)
    gap = 0.4 / 0.9 * first["nats"].sum() / first["bytes"].sum() / LN2
    decision = judge(challenger=scores(0.9), floor=judged)
    assert decision.promote
    assert rule(decision, "not below the floor").detail.startswith(f"{gap:+.4f} bits per byte above")


def test_a_model_surely_below_the_floor_cannot_be_right():
    decision = judge(floor=floor(0.93))
    assert_refused_by(decision, "not below the floor")
    assert "no model can be below" in decision.reason


def test_a_model_at_the_floor_and_one_below_it_by_luck_pass():
    assert judge(challenger=scores(0.9), floor=floor(0.9)).promote
    assert judge(challenger=scores(0.9, seed=2, noise=0.2), floor=floor(0.9)).promote


def test_where_nobody_knows_the_floor_there_is_no_rule():
    assert rule(judge(), "not below the floor").detail == "these reviews have no known floor"


def test_drift_is_always_noted_and_never_decides():
    assert rule(judge(drift="the new reviews have drifted: stars"), "drift").detail.endswith("drifted: stars")
    assert rule(judge(), "drift").detail == "it is not known whether the reviews have drifted"
    assert judge(drift="the new reviews have drifted: stars").promote


def test_scores_that_are_not_those_of_the_store_are_refused():
    assert judge(challenger_departure=9e-4).promote
    for whose in ("challenger", "champion"):
        decision = judge(**{f"{whose}_departure": 0.002})
        assert_refused_by(decision, "scored now")
        assert f"the {whose}'s scores differ from the stored ones by at most 2.0e-03" in decision.reason
    assert_refused_by(judge(champion_departure=math.nan), "scored now")


def test_stored_scores_are_refused():
    assert_refused_by(judge(challenger_departure=None, champion_departure=None), "scored now")
    assert judge(**FIRST, champion_departure=None).promote


def test_the_departure_of_two_scorings():
    once = scores()
    assert departure(once, once.reverse()) == 0
    one_more = once.with_columns(nats=pl.when(pl.col("review_id") == "r00007").then(pl.col("nats") * 1.25)
                                 .otherwise(pl.col("nats")))  # fmt: skip
    assert departure(one_more, once) == pytest.approx(0.25)
    assert departure(once.head(199), once) == math.inf
    never = once.with_columns(nats=pl.lit(math.inf))
    assert departure(never, never) == 0
    assert departure(once, never) == departure(never, once) == math.inf


@pytest.mark.parametrize(
    ("copied", "real", "passed"), [(0.03, 0.02, True), (0.51, 0.02, True), (0.52, 0.02, False), (0.7, 0.5, True),
                                   (0.76, 0.5, False), (0.99, 1.0, None)],
)  # fmt: skip
def test_novelty_is_the_share_of_new_passages_relative_to_real_reviews(copied, real, passed):
    audit = {"copied_passages": copied, "real_copied_passages": real}
    decision = judge(PromotionConfig(min_novelty=0.5), audit=audit)
    assert rule(decision, "novelty").passed is passed


def test_what_real_reviews_have_too_is_not_held_against_a_model():
    policy = PromotionConfig(max_copied_span=30, max_private_patterns=1)
    audit = {"longest_copied": 40, "real_longest_copied": 44, "private_patterns": 6, "real_private_patterns": 5}
    decision = judge(policy, audit=audit)
    assert rule(decision, "copied span").passed
    assert rule(decision, "copied span").limit == 44
    assert rule(decision, "private patterns").passed
    assert rule(decision, "private patterns").limit == 6
    assert rule(judge(policy, audit={**audit, "longest_copied": 45}), "copied span").passed is False
    assert rule(judge(policy, audit={**audit, "private_patterns": 7}), "private patterns").passed is False


def test_where_no_canary_was_planted_exposure_is_not_applicable_unless_the_policy_asks_for_it():
    audit = {**HONEST, "canaries": 0, "exposure_max": None}
    shown = rule(judge(PromotionConfig(max_exposure=None), audit=audit), "exposure")
    assert (shown.passed, shown.detail) == (
        None, "no canaries were planted in the training data; the policy sets no limit"
    )
    assert rule(judge(PromotionConfig(max_exposure=8), audit=audit), "exposure").passed is False
    assert rule(judge(audit=audit), "exposure").passed is None
    off = rule(judge(PromotionConfig(max_exposure=None), audit=audit, single_reviews="kn5"), "exposure")
    assert off.passed is None


def exposed(once, most, highest=13.3, **changes):
    audit = {**HONEST, "exposure_once": once, "exposure_max": most, "exposure_limit": highest}
    return rule(judge(audit=audit, **changes), "exposure")


def test_a_model_that_knows_all_canaries_fails_by_default_and_one_lucky_canary_does_not():
    """The figures of docs/concepts/evaluation/memorisation.md: regular networks, and one trained six times as long."""
    for once, most in ((5.8, 8.1), (3.5, 6.7), (4.0, 9.97)):
        assert exposed(once, most).passed
    found = exposed(13.3, 13.3)
    assert (found.passed, found.value, found.limit) == (False, 13.3, 8)
    assert exposed(10.9, 10.97, 10.97).passed is False, "as few candidates as the demo has"


@pytest.mark.parametrize(
    ("audit", "single_reviews", "passed"),
    [
        ({}, "", True),
        ({}, "kn5", False),  # canaries of frequent words do not show what pairs of rare words tell
        ({"exposure_once": 13.3, "exposure_max": 13.3}, "", False),
        ({"exposure_once": 13.3, "exposure_max": 13.3}, "kn5", False),
        ({"canaries": 0, "exposure_once": None, "exposure_max": None}, "kn5", False),
        ({"canaries": 0, "exposure_once": None, "exposure_max": None}, "", None),
        ({"exposure_once": None, "exposure_max": 12.3}, "kn5", False),  # planted several times only
        ({"exposure_once": None, "exposure_max": 12.3}, "", None),
        ({"exposure_once": 6.6, "exposure_max": 6.6, "exposure_limit": 6.66}, "kn5", False),  # too few candidates
        ({"exposure_once": 6.6, "exposure_max": 6.6, "exposure_limit": 6.66}, "", None),
        (None, "kn5", False),
        (None, "", None),
    ],
)
def test_a_table_that_holds_what_one_review_says_is_refused_whatever_was_measured(audit, single_reviews, passed):
    facts = None if audit is None else {**HONEST, **audit}
    found = rule(judge(audit=facts, single_reviews=single_reviews), "exposure")
    assert found.passed is passed
    assert ("models.kn5.min_documents=2" in found.detail) is bool(single_reviews)


def test_a_model_of_short_lines_is_judged_by_whole_lines():
    audit = {**HONEST, "copied_passages": 0.2, "real_copied_passages": 0.0}
    found = rule(judge(audit=audit), "novelty")
    assert (found.passed, found.value) == (True, pytest.approx(0.8))
    assert rule(judge(audit={**audit, "copied_passages": 0.7}), "novelty").passed is False
    nothing = rule(judge(audit={**audit, "copied_passages": None}), "novelty")
    assert nothing.passed is False
    assert "no words" in nothing.detail
    assert rule(judge(audit={"copied_8": 0.2, "real_copied_8": 0.0}), "novelty").passed is False


def test_a_limit_is_switched_off_by_the_word_none():
    policy = load_config("small", ["promotion.max_latency_ms=none", "promotion.max_slice_loss=0.1"]).promotion
    assert (policy.max_latency_ms, policy.max_slice_loss) == (None, 0.1)
    for wrong in ("promotion.max_latency_ms=-1", "promotion.min_novelty=1.5", "promotion.max_megabytes=never",
                  "promotion.slice_dimensions=[\"moon\"]"):  # fmt: skip
        with pytest.raises(ConfigError):
            load_config("small", [wrong])


def test_one_review_has_no_interval_and_so_nothing_is_sure():
    ours, theirs = scores(0.5).head(1), scores().head(1)
    judged = theirs.select("review_id", "bytes", nats=pl.lit(1.0))
    one = LanguageCase.of(PromotionConfig(), evidence(challenger=ours, champion=theirs, floor=judged))
    assert one.gain == pytest.approx(0.5)
    assert one.interval is one.floor_gap is None
    assert better_than_champion(one).passed is False
    assert "fewer than two groups of reviews" in better_than_champion(one).detail
    assert not_below_floor(one).passed is None


def test_without_a_review_that_the_floor_explains_there_is_no_gap():
    judged = scores().select("review_id", "bytes", nats=pl.lit(None, pl.Float64))
    assert LanguageCase.of(PromotionConfig(), evidence(floor=judged)).floor_gap is None
