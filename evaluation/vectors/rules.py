"""Define the rules of the gate for word vectors, in the order in which they are applied and shown.

A rule is a function from a `VectorsCase` to a `RuleOutcome`. To add one, write a function, add it to `RULES` or
`RULES_OF_RANKS`, its limit to `core/config/sections/embedding.py` and its row to
docs/concepts/other_models/embeddings.md. Gains and losses are differences of shares, shown in points of 100.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import gt

from evaluation.classification.case import interval_text, points
from evaluation.classification.forgetting import outcome_of_loss
from evaluation.gate.decision import RuleOutcome
from evaluation.gate.rules import RULES_OF_ALL
from evaluation.gate.rules.case import MORE_REVIEWS
from evaluation.gate.rules.comparability import count_groups
from evaluation.gate.rules.forgetting import NAME, about_reviews, without_loss
from evaluation.gate.rules.serving import size
from evaluation.gate.rules.slices import outcome_of_losses
from evaluation.statistics.bootstrap import Interval
from evaluation.statistics.slices import losses_by_slice, review_slicings
from evaluation.vectors.evidence import VectorsCase, same_windows

VectorsRule = Callable[[VectorsCase], RuleOutcome]
CHANCE = 0.5
LENGTH_BINS = 5


def vectors_at_hand(case: VectorsCase) -> RuleOutcome:
    """Refuse a challenger whose registered bundle did not rank the words of the test reviews."""
    name, problem = "vectors at hand", case.evidence.challenger.problem
    if not case.measured:
        return RuleOutcome(name, False, problem or "no test review has two words, so nothing could be ranked")
    by = "output vectors" if case.evidence.by_output else "the cosine of input vectors"
    count = int(case.challenger.windows_D.sum())
    return RuleOutcome(name, True, f"{count:,} windows of {len(case.challenger):,} test reviews were ranked by {by}")


def enough_test_reviews(case: VectorsCase) -> RuleOutcome:
    """Refuse to decide with too few independent groups of reviews."""
    grouped_by = None if case.groups_D is None else case.evidence.data.grouped_by
    return count_groups(len(case.challenger), case.group_sizes, grouped_by, case.policy.min_test_reviews)


def same_cut(case: VectorsCase) -> RuleOutcome:
    """Refuse vectors of another kind of words than the champion's: they cannot be compared fairly."""
    name = "same cut of the text"
    if case.evidence.champion is None or case.lost or case.identical:
        return RuleOutcome(name, None, case.lost or "there is no other champion")
    remedy = f"register it under another name ({case.name_setting}), or promote it by hand (--force)"
    detail = f"{case.other_cut}: {remedy}" if case.other_cut else f"both are vectors of: {case.evidence.challenger.cut}"
    return RuleOutcome(name, not case.other_cut, detail)


def better_than_chance(case: VectorsCase) -> RuleOutcome:
    """Refuse vectors that do not surely rank more than half of the words right."""
    gain = case.gain_over(CHANCE * case.challenger.windows_D)
    return _surely("better than chance", gain, case.policy.min_gain_over_chance, "guessing", case.challenger.ranked)


def better_than_counts(case: VectorsCase) -> RuleOutcome:
    """Refuse vectors that are not surely better than always choosing the more frequent word."""
    name, limit, counts = "better than word counts", case.policy.min_gain_over_counts, case.evidence.counts
    if counts is None or not same_windows(case.challenger, counts):
        return RuleOutcome(name, None if limit is None else False, "there are no figures of the word counts")
    return _surely(name, case.gain_over(counts.points_D), limit, "the more frequent word", case.challenger.ranked)


def better_than_champion_vectors(case: VectorsCase) -> RuleOutcome:
    """Refuse a gain below the required one; a tie keeps the champion."""
    name, limit, gain = "better than the champion", case.policy.min_gain, case.gain
    if gain is None or case.champion is None:
        return RuleOutcome(name, None, case.problem)
    detail = f"ranked {case.challenger.ranked:.2%}, the champion's {case.champion.ranked:.2%}: "
    detail += "exactly as good" if gain.estimate == 0 else points(gain.estimate)
    return RuleOutcome(name, gain.estimate > 0 and gain.estimate >= limit, detail, gain.estimate, limit)


def surely_better_vectors(case: VectorsCase) -> RuleOutcome:
    """Refuse a gain that may be chance, or at or below the required one."""
    name, limit, gain = "surely better", case.policy.min_gain, case.gain
    if gain is None:
        return RuleOutcome(name, None, case.problem)
    detail = interval_text(gain, "the gain over the champion")
    near = gain.low <= limit < gain.estimate
    return RuleOutcome(name, gain.low > limit, detail + f"; it may be chance; {MORE_REVIEWS}" * near, gain.low, limit)


def no_slice_ranked_worse(case: VectorsCase) -> RuleOutcome:
    """Refuse a challenger that surely loses on a slice, and more than the limit."""
    reviews, champion, policy = case.evidence.data.reviews, case.champion, case.policy
    if reviews is None or champion is None:
        return RuleOutcome("no slice worse", None, case.problem or "no facts are known about the test reviews")
    ours = case.challenger
    known = ours.review_ids.to_frame("review_id").join(
        reviews.unique("review_id"), on="review_id", how="left", maintain_order="left"
    )
    slicings = [
        one for one in review_slicings(known, policy.min_slice_reviews, LENGTH_BINS)
        if one.dimension in policy.slice_dimensions
    ]  # fmt: skip
    lost_D = champion.points_D - ours.points_D
    table = losses_by_slice(slicings, lost_D, ours.windows_D, case.groups_D, policy.confidence)
    return outcome_of_losses(table, policy.max_slice_loss, policy.min_slice_reviews, "ranked")


def no_forgetting_of_words(case: VectorsCase) -> RuleOutcome:
    """Refuse a challenger that surely loses more than the limit on the champion's own test reviews.

    "Surely" means that the whole interval of the loss is above the limit.
    """
    limit, found = case.policy.max_champion_loss, case.evidence.champion_reviews
    if case.other_cut:
        return RuleOutcome(NAME, None, case.other_cut, None, limit)
    if outcome := without_loss(case):
        return outcome
    assert found is not None
    chosen = "drawn" if found.left > case.policy.champion_reviews else "with two words"
    return outcome_of_loss(about_reviews(found, chosen), "ranked", case.champion_loss, limit)


def _surely(name: str, gain: Interval, limit: float | None, other: str, ranked: float) -> RuleOutcome:
    """Return whether the whole interval of the gain over something simple is above the limit."""
    detail = f"ranked {ranked:.2%}, {other} {ranked - gain.estimate:.2%}: {interval_text(gain, 'the gain')}"
    return RuleOutcome.compared(name, detail, gain.low, limit, gt)


RULES: tuple[VectorsRule, ...] = (*RULES_OF_ALL, size, vectors_at_hand)
RULES_OF_RANKS: tuple[VectorsRule, ...] = (
    same_cut, enough_test_reviews, better_than_chance, better_than_counts, better_than_champion_vectors,
    surely_better_vectors, no_slice_ranked_worse, no_forgetting_of_words,
)  # fmt: skip
"""Rules that are applied only if the challenger was measured."""
