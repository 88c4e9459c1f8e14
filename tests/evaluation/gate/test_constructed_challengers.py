"""One made-up challenger for each thing that a gate must get right, and what the gate says of it."""


import polars as pl
import pytest

from core.config.sections.evaluation import PromotionConfig
from evaluation.gate.case import Latency
from evaluation.gate.language import LanguageCase
from evaluation.scoring.metrics import figures_of
from evaluation.statistics.comparison import comparable
from tests.evaluation.challengers import FIRST, HONEST, assert_refused_by, judge, rule, scores

STRICT = PromotionConfig(
    min_novelty=0.5, max_copied_span=50, max_exposure=8, max_private_patterns=10, max_latency_ms=100, max_megabytes=50
)


def test_better():
    decision = judge(STRICT, megabytes=12.0)
    assert decision.promote
    assert [each.name for each in decision.rules if each.passed is None] == ["not below the floor", "drift"]


def test_equal():
    """A tie keeps the champion."""
    decision = judge(challenger=scores())
    assert_refused_by(decision, "better than the champion")
    assert "exactly as good as the champion" in decision.reason


def test_better_by_noise():
    """Both are equally good; on these 200 reviews, whose scores differ by a third, the challenger happens to win."""
    champion, tries = scores(noise=0.3, seed=1), (scores(noise=0.3, seed=seed) for seed in range(2, 50))
    lucky = next(one for one in tries if 0.01 < 1 - one["nats"].sum() / champion["nats"].sum() < 0.03)
    decision = judge(challenger=lucky, champion=champion)
    assert_refused_by(decision, "better than the champion")
    assert "not surely above 0.00%" in decision.reason


def test_better_over_all_but_worse_on_one_star_reviews():
    worse = pl.when(pl.col("stars") == 1).then(pl.col("nats") * 1.08).otherwise(pl.col("nats") * 0.8)
    decision = judge(challenger=scores(seed=1).with_columns(nats=worse))
    assert rule(decision, "better than the champion").passed
    assert_refused_by(decision, "no slice worse")
    assert decision.reason.startswith("worst at stars 1 (40 reviews): ")


def test_memorising():
    """It recites: hardly an 8-gram is its own, a whole review is copied, a planted canary stands out."""
    recites = {**HONEST, "copied_passages": 0.9, "longest_copied": 130, "exposure_max": 13.3, "private_patterns": 40}
    decision = judge(STRICT, audit=recites, megabytes=12.0)
    assert_refused_by(decision, "novelty", "copied span", "exposure", "private patterns")
    assert "10.0% of its passages (8 words, or a shorter text) are new, 98.0% in real reviews" in decision.reason
    assert "the most exposed canary has 13.3 bits" in decision.reason


def test_slow():
    decision = judge(STRICT, megabytes=12.0, latency=Latency(80.0, 450.0, 30.0))
    assert_refused_by(decision, "latency")
    assert "95 % come within 450.0 ms" in decision.reason
    assert "At most 100 ms are allowed" in decision.reason
    assert "`--set promotion.max_latency_ms=540`" in decision.reason
    assert "are allowed" not in rule(judge(STRICT, megabytes=12.0), "latency").detail


def test_too_big():
    assert_refused_by(judge(STRICT, audit=HONEST, megabytes=50.1), "size")


def test_a_broken_challenger():
    """The registered bundle does not open: neither the gate nor a fresh process gets an answer of it."""
    decision = judge(
        score_problem="the registered challenger, version 7, cannot be scored: weights.safetensors was changed",
        challenger_departure=None, smoke_passed=False, smoke_detail="ModelError: weights.safetensors was changed",
        latency=None,
    )  # fmt: skip
    assert_refused_by(decision, "scored now", "smoke test", "latency")
    assert "version 7, cannot be scored" in decision.reason


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


def test_no_champion():
    decision = judge(STRICT, megabytes=12.0, **FIRST)
    assert decision.promote
    assert decision.reason == "first model, all rules passed"
    assert judge(**FIRST, smoke_passed=False, smoke_detail="no answer").reason == "no answer"


LOST = {"champion": None, "champion_test": None, "champion_departure": None,
        "champion_problem": "the champion, version 3, cannot be measured: its files were deleted"}  # fmt: skip


def test_the_champions_files_are_gone():
    """Nobody knows what would be given up: nothing moves, and the reason says what to do."""
    decision = judge(**LOST)
    assert_refused_by(decision, "champion at hand")
    assert decision.champion == "old"
    assert "its files were deleted" in decision.reason
    assert "roll back to a version that opens, or set promotion.replace_lost_champion" in decision.reason


def test_a_lost_champion_is_replaced_if_the_policy_says_so_and_only_by_a_model_that_breaks_no_rule():
    start_anew = PromotionConfig(replace_lost_champion=True)
    decision = judge(start_anew, **LOST)
    assert decision.promote
    assert "version 3, cannot be measured" in decision.reason
    assert_refused_by(judge(start_anew, **LOST, baseline=scores(0.8)), "better than the baseline")
    assert_refused_by(judge(start_anew, challenger=scores()), "better than the champion")


def test_a_lost_champion_that_was_made_again_can_take_its_own_place():
    again = {**LOST, "challenger_digest": "old"}
    assert_refused_by(judge(**again), "champion at hand")
    assert judge(PromotionConfig(replace_lost_champion=True), **again).promote


def test_a_planted_leak():
    decision = judge(leak_free=False, leak_detail="1 texts are in more than one split: test id2, train id30")
    assert_refused_by(decision, "leak certificate")
    assert "test id2, train id30" in decision.reason


@pytest.mark.parametrize(
    ("lacking", "name"),
    [({"audit": None}, "novelty"), ({"audit": None}, "copied span"), ({"audit": None}, "exposure"),
     ({"audit": None}, "private patterns"), ({"audit": {**HONEST, "exposure_max": None}}, "exposure"),
     ({"latency": None}, "latency"), ({"megabytes": None}, "size"), ({"smoke_passed": None}, "smoke test"),
     ({"checks_passed": None}, "data checks"), ({"leak_free": None}, "leak certificate"),
     ({"challenger_departure": None}, "scored now"), ({"champion_departure": None}, "scored now")],
)  # fmt: skip
def test_evidence_that_is_asked_for_and_missing_counts_against_the_challenger(lacking, name):
    decision = judge(STRICT, **{"megabytes": 12.0, **lacking})
    assert not decision.promote
    assert rule(decision, name).passed is False


def test_every_rule_is_in_the_decision_once_and_under_its_own_name():
    names = [each.name for each in judge().rules]
    assert len(names) == len(set(names)) == len(LanguageCase.RULES)


def test_a_fit_that_somebody_has_rolled_back_from_is_refused_by_that_rule_alone():
    why = "version 2 is the same fit; ann@desk rolled back from it on 2026-11-20: complaints"
    decision = judge(rolled_back=why)
    assert_refused_by(decision, "not rolled back")
    assert "complaints" in decision.reason
    assert judge(PromotionConfig(allow_rolled_back=True), rolled_back=why).promote
