"""Which word vectors become champion: good ones against shuffled, equal, better, and lacking ones."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest

from core.config.sections.embedding import EmbeddingPromotion
from core.lineage.family import Family
from evaluation.gate.decision import Decision
from evaluation.gate.evidence import ChampionReviews, DataEvidence, Leaks, ServingEvidence
from evaluation.vectors.evidence import RankedVectors, VectorsEvidence
from evaluation.vectors.gate import decide_vectors
from evaluation.vectors.ranked_words import RankedReviews, WordWindows, rank, rank_by_counts, windows_of_words
from models.vectors.word_vectors import WordVectors
from tasks.embedding.promote import metrics_of

TOPICS, WORDS = 4, 40
NAMES = [f"w{number}" for number in range(WORDS)]
FAMILY = Family("reviews", "f" * 64)
POLICY = EmbeddingPromotion()


@cache
def made_reviews() -> tuple[WordWindows, pl.DataFrame]:
    """Return reviews of one topic each, with stars; a topic has a quarter of the words."""
    rng = np.random.default_rng(1)
    texts = [[NAMES[TOPICS * rng.integers(0, WORDS // TOPICS) + topic] for _ in range(20)]
             for topic in rng.integers(0, TOPICS, 300)]  # fmt: skip
    ids = pl.Series("review_id", [f"r{number:03}" for number in range(300)])
    facts = pl.DataFrame({"review_id": ids, "stars": [float(number % 5 + 1) for number in range(300)]})
    return windows_of_words(ids, pl.Series(texts)), facts


def vectors(noise: float, seed: int = 2, words: list[str] = NAMES) -> WordVectors:
    """Return vectors that tell the topics apart, the worse the larger the noise."""
    rng = np.random.default_rng(seed)
    topics = np.eye(TOPICS)[[int(word[1:]) % TOPICS for word in words]]
    inner, outer = ((topics + noise * rng.normal(size=topics.shape)).astype(np.float32) for _ in range(2))
    return WordVectors(words, inner, [5] * len(words), {}, outer)


def shuffled(good: WordVectors) -> WordVectors:
    order = np.random.default_rng(3).permutation(len(good))
    assert good.output_ND is not None
    return WordVectors(good.words, good.matrix_ND[order], good.counts, {}, good.output_ND)


def measured(digest: str, found: WordVectors, **facts: Any) -> RankedVectors:
    usual = {"family": FAMILY, "cut": "word, lower case"}
    return RankedVectors(digest, rank(made_reviews()[0], found, True), "t" * 64, **{**usual, **facts})


def judge(challenger: RankedVectors, champion: RankedVectors | None, policy: Any = POLICY, **facts: Any) -> Decision:
    windows, reviews = made_reviews()
    evidence = VectorsEvidence(
        challenger, champion, rank_by_counts(windows, dict.fromkeys(NAMES, 5)), True,
        data=DataEvidence(reviews, "", True, "2 suites", Leaks(True, "no leak", "t" * 64)),
        serving=ServingEvidence(True, "answers", None, 1.0), champion_reviews=ChampionReviews(same=True), resamples=300,
    )  # fmt: skip
    return decide_vectors(policy, replace(evidence, **facts))


def failed(decision: Decision) -> list[str]:
    return [rule.name for rule in decision.rules if rule.passed is False]


GOOD, FAIR = vectors(0.3), vectors(1.0)


def test_the_first_vectors_that_beat_chance_and_counts_are_promoted() -> None:
    decision = judge(measured("a", GOOD), None)
    assert decision.promote, decision.reason
    assert decision.reason == "first model, all rules passed"
    assert decision.figures["challenger, ranked"] > 0.8
    assert decision.figures["word counts, ranked"] == 0.5, "all counts are equal"
    assert decision == judge(measured("a", GOOD), None)
    assert Decision.from_json(decision.to_json()) == decision
    assert "| ranked |" in decision.to_markdown()


def test_better_vectors_replace_the_champion_and_worse_ones_do_not() -> None:
    better = judge(measured("b", GOOD), measured("a", FAIR))
    assert better.promote, better.reason
    assert "points more words right than the champion" in better.reason
    worse = judge(measured("a", FAIR), measured("b", GOOD))
    assert failed(worse) == ["better than the champion", "surely better", "no slice worse"]
    assert worse.figures["gain"] == pytest.approx(-better.figures["gain"])  # type: ignore[operator]


def test_shuffled_vectors_are_refused_with_and_without_a_champion() -> None:
    alone = judge(measured("s", shuffled(GOOD)), None)
    assert "better than chance" in failed(alone)
    beside = judge(measured("s", shuffled(GOOD)), measured("a", GOOD))
    assert {"better than chance", "better than the champion", "no slice worse"} <= set(failed(beside))


def test_equal_vectors_do_not_replace_the_champion() -> None:
    same = judge(measured("a", GOOD), measured("a", GOOD), serving=ServingEvidence(None, "nothing new"))
    assert same.reason == "the challenger is identical to the champion (a)"
    other = judge(measured("b", GOOD), measured("a", GOOD))
    assert failed(other) == ["better than the champion", "surely better"]
    assert "exactly as good" in other.reason


def test_a_vocabulary_that_lacks_half_of_the_words_does_not_pass_by_leaving_them_out() -> None:
    decision = judge(measured("b", vectors(0.3, words=NAMES[: WORDS // 2])), measured("a", GOOD))
    assert "better than the champion" in failed(decision)


def test_the_more_frequent_word_is_a_baseline_that_has_to_be_beaten() -> None:
    windows, _ = made_reviews()
    sure = replace(rank(windows, GOOD, True), points_D=rank(windows, GOOD, True).windows_D.astype(float))
    assert failed(judge(measured("a", GOOD), None, counts=sure)) == ["better than word counts"]
    unlimited = judge(measured("a", GOOD), None, EmbeddingPromotion(min_gain_over_counts=None), counts=sure)
    assert unlimited.promote


def test_a_loss_on_one_slice_is_refused_although_the_rest_gains() -> None:
    windows, reviews = made_reviews()
    ours, theirs = rank(windows, GOOD, True), rank(windows, FAIR, True)
    of_one = (reviews["stars"] == 1).to_numpy()
    mixed = np.where(of_one, 0.3 * ours.windows_D, ours.points_D)
    decision = judge(replace(measured("b", GOOD), rows=replace(ours, points_D=mixed)),
                     replace(measured("a", FAIR), rows=theirs))  # fmt: skip
    assert failed(decision) == ["no slice worse"]
    assert "stars 1" in decision.reason


def test_the_two_measures_never_share_a_name() -> None:
    by_output, by_cosine = (judge(measured("b", GOOD), measured("a", FAIR), by_output=one) for one in (True, False))
    assert by_output.metric.startswith("ranked: ")
    assert by_output.metric.endswith("by output vectors (u · h) (higher is better)")
    assert by_cosine.metric.startswith("ranked by cosine: ")
    assert {"challenger, ranked", "champion, ranked"} <= by_output.figures.keys()
    assert {"challenger, ranked by cosine", "champion, ranked by cosine"} <= by_cosine.figures.keys()
    shared = {"test/ranked_by_counts", "test/windows"}
    assert metrics_of(by_output).keys() - shared == {"test/ranked", "test/ranked_by_champion", "test/gain"}
    assert metrics_of(by_cosine).keys() - shared == {
        "test/ranked_by_cosine", "test/ranked_by_cosine_by_champion", "test/gain_by_cosine",
    }  # fmt: skip
    assert metrics_of(by_cosine)["test/ranked_by_cosine"] == by_cosine.figures["challenger, ranked by cosine"]
    assert "| ranked by cosine |" in by_cosine.to_markdown()


@pytest.mark.parametrize(("facts", "rule"), [
    ({"rolled_back": "version 2 is the same fit; ann rolled back from it"}, "not rolled back"),
    ({"serving": ServingEvidence(False, "no answer", None, 1.0)}, "smoke test"),
    ({"serving": ServingEvidence(None, "", None, 1.0)}, "smoke test"),
    ({"data": DataEvidence(None, "", True, "", Leaks(False, "a leak"))}, "leak certificate"),
    ({"data": DataEvidence(None, "", None, "", Leaks(True, "", "t" * 64))}, "data checks"),
])  # fmt: skip
def test_a_single_failed_rule_refuses_good_vectors(facts: dict[str, Any], rule: str) -> None:
    assert failed(judge(measured("b", GOOD), measured("a", FAIR), **facts)) == [rule]


def test_a_lost_champion_is_replaced_only_if_the_policy_says_so() -> None:
    lost = RankedVectors("a", None, problem="the champion, version 1, cannot be opened", family=FAMILY)
    refused = judge(measured("b", GOOD), lost)
    assert failed(refused) == ["champion at hand"]
    assert "embedding.promotion.replace_lost_champion" in refused.reason
    assert judge(measured("b", GOOD), lost, EmbeddingPromotion(replace_lost_champion=True)).promote


def test_vectors_of_another_family_of_data_are_refused_with_the_name_of_the_setting() -> None:
    other = judge(measured("b", GOOD), measured("a", FAIR, family=Family("synthetic", "e" * 64)))
    assert failed(other) == ["same data family"]
    assert "(embedding.model_name)" in other.reason


def on_own_reviews(ours: WordVectors, theirs: WordVectors, **facts: Any) -> ChampionReviews[RankedReviews]:
    """Let made-up reviews stand for the champion's own."""
    windows, _ = made_reviews()
    return ChampionReviews(300, challenger=rank(windows, ours, True), champion=rank(windows, theirs, True), **facts)


def test_a_gain_on_todays_reviews_does_not_pass_with_a_loss_on_the_champions_own() -> None:
    theirs, ours = measured("a", FAIR), measured("b", GOOD)
    forgotten = judge(ours, theirs, champion_reviews=on_own_reviews(shuffled(GOOD), GOOD))
    assert failed(forgotten) == ["no forgetting"]
    own = on_own_reviews(shuffled(GOOD), GOOD)
    assert own.challenger is not None
    assert own.champion is not None
    lost = own.champion.ranked - own.challenger.ranked
    assert forgotten.figures["champion's reviews, loss"] == pytest.approx(lost)
    assert lost > 0.1
    assert judge(ours, theirs, champion_reviews=on_own_reviews(GOOD, GOOD)).promote
    allowed = EmbeddingPromotion(max_champion_loss=None)
    assert judge(ours, theirs, allowed, champion_reviews=None).promote


@pytest.mark.parametrize(("own", "refused"), [
    (None, ["no forgetting"]), (ChampionReviews(problem="the data are gone"), ["no forgetting"]),
    (ChampionReviews(300, same=True), []), (ChampionReviews(40, 30), []),
])  # fmt: skip
def test_own_reviews_that_cannot_be_ranked_count_as_for_classifiers(own: Any, refused: list[str]) -> None:
    assert failed(judge(measured("b", GOOD), measured("a", FAIR), champion_reviews=own)) == refused


@pytest.mark.parametrize(("ours", "theirs"), [
    ("word, lower case", "word, case kept"), ("bpe", "word, lower case"), ("word, lower case", ""), ("", ""),
])  # fmt: skip
def test_vectors_of_other_words_are_refused_although_they_rank_better(ours: str, theirs: str) -> None:
    decision = judge(measured("b", GOOD, cut=ours), measured("a", FAIR, cut=theirs))
    assert failed(decision) == ["same cut of the text"]
    assert "register it under another name (embedding.model_name), or promote it by hand" in decision.reason
    assert "gain" not in decision.figures, "no figure of a comparison that is not fair"
    assert judge(measured("b", GOOD, cut=ours), None).promote


def test_vectors_that_cannot_be_opened_or_have_nothing_to_rank_are_refused() -> None:
    damaged = judge(RankedVectors("b", None, "t" * 64, "it is damaged", FAMILY), measured("a", GOOD))
    assert failed(damaged) == ["vectors at hand"]
    none = rank(windows_of_words(pl.Series(["r"]), pl.Series([["alone"]])), GOOD, True)
    nothing = judge(RankedVectors("b", none, "t" * 64, "", FAMILY), None)
    assert "no test review has two words" in nothing.reason
