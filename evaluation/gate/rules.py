"""Rules of the gate that hold for models of every family.

A rule is a function from a `GateCase` to an outcome of its entry in `rule_table.py`. To add a rule, add this entry, write
a function here, or in the module of the one family that it is for; add it to the `RULES` of the families, its limit to
their policies (`core/config/sections/`) and its row to docs/concepts/registry/promotion.md or
docs/concepts/evaluation/classification.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import polars as pl

from reviewlm.evaluation.gate.case import MORE_REVIEWS, NO_CHAMPION, GateCase
from reviewlm.evaluation.gate.evidence import ChampionReviews, ModelEvidence
from reviewlm.evaluation.gate.rule_table import (
    ANOTHER_MODEL,
    BETTER_THAN_BASELINE,
    BETTER_THAN_CHAMPION,
    CHAMPION_AT_HAND,
    DATA_CHECKS,
    ENOUGH_REVIEWS,
    FINITE_FIGURES,
    LATENCY,
    LEAK_CERTIFICATE,
    NO_FORGETTING,
    NO_SLICE_WORSE,
    NOT_ROLLED_BACK,
    NOT_WORSE_THAN_BASELINE,
    SAME_FAMILY,
    SAME_TEST_REVIEWS,
    SIZE,
    SMOKE_TEST,
    GateRule,
    RuleOutcome,
)

NOTHING_NEW = "nothing new was registered"
ITSELF = "the challenger is the champion, so there is nothing to compare"


def another_model(case: GateCase) -> RuleOutcome:
    """Refuse the champion itself."""
    if case.evidence.champion is None:
        return ANOTHER_MODEL.outcome(None, NO_CHAMPION)
    if case.identical:
        return ANOTHER_MODEL.outcome(
            False, "the challenger is identical to the champion: there is nothing to promote"
        )
    if case.evidence.challenger.digest == case.evidence.champion.digest:
        return ANOTHER_MODEL.outcome(None, "the challenger is the lost champion, made again")
    if case.same_scores:
        return ANOTHER_MODEL.outcome(
            None, "its files differ from the champion's, but none of its scores does"
        )

    return ANOTHER_MODEL.outcome(True, "its files differ from the champion's")


def not_rolled_back(case: GateCase) -> RuleOutcome:
    """Refuse a fit that somebody has rolled back from: its figures have not shown what was wrong with it."""
    why = case.evidence.rolled_back
    if case.identical:
        return NOT_ROLLED_BACK.outcome(None, "the challenger is the champion")
    if not why:
        return NOT_ROLLED_BACK.outcome(True, "nobody has rolled back from this fit")
    if case.policy.allow_rolled_back:
        return NOT_ROLLED_BACK.outcome(None, f"{why}; the policy allows it")

    remedy = "change data or settings, or repeat the command with `--set promotion.allow_rolled_back=true`"
    return NOT_ROLLED_BACK.outcome(False, f"{why}: {remedy}")


def champion_at_hand(case: GateCase) -> RuleOutcome:
    """Refuse if there is a champion that cannot be measured, because the loss from replacing it is unknown."""
    if case.evidence.champion is None:
        return CHAMPION_AT_HAND.outcome(None, NO_CHAMPION)
    if case.lost and case.policy.replace_lost_champion:
        return CHAMPION_AT_HAND.outcome(None, f"{case.lost}; the policy allows replacing it")

    name_of_model = getattr(case.policy, "model_name", "")
    of = f" --model {name_of_model}" if name_of_model else ""
    remedy = (
        f"`reviewlm rollback{of}` goes back to one that opens, `--set promotion.replace_lost_champion=true` "
        "replaces it"
    )
    detail = f"{case.lost}: {remedy}" if case.lost else "the champion opens"
    return CHAMPION_AT_HAND.outcome(not case.lost, detail)


def same_test_reviews(case: GateCase) -> RuleOutcome:
    """Refuse unless both models were measured on the same reviews, each review once."""
    if case.evidence.champion is None or case.lost:
        return SAME_TEST_REVIEWS.outcome(None, case.problem)
    unlike = case.unlike(case.evidence.champion)
    same = f"both have scores of the same {case.reviews} reviews"
    return SAME_TEST_REVIEWS.outcome(not unlike, unlike or same)


def same_family(case: GateCase) -> RuleOutcome:
    """Refuse a challenger trained on another family of data than the champion.

    It may be better on its own text and worthless on the champion's.
    """
    if case.evidence.champion is None:
        return SAME_FAMILY.outcome(None, NO_CHAMPION)

    ours = case.evidence.challenger.family
    theirs = case.evidence.champion.family
    if case.identical:
        return SAME_FAMILY.outcome(None, ITSELF)
    if ours.known and ours.name == theirs.name:
        files = "other files"
        if ours.sources and ours.sources == theirs.sources:
            files = "the same files"

        return SAME_FAMILY.outcome(
            True, f"both learnt from data of the family '{ours.name}', from {files}"
        )
    if not theirs.known and case.lost:
        return SAME_FAMILY.outcome(
            None, f"{case.lost}, and it is not known from which data it was made"
        )

    other = f"the challenger learnt from data of the family '{ours.name}', the champion from '{theirs.name}'"
    if case.policy.allow_other_family:
        return SAME_FAMILY.outcome(None, f"{other}; the policy allows it")

    remedy = (
        f"register it under another name with `--set {case.name_setting}=NAME`, or allow it with "
        "`--set promotion.allow_other_family=true`"
    )
    return SAME_FAMILY.outcome(False, f"{other}: {remedy}")


def enough_reviews(case: GateCase) -> RuleOutcome:
    """Refuse to decide with too few independent groups of reviews."""
    count = len(case.group_sizes)
    limit = case.policy.min_test_reviews
    if case.remembered:
        return ENOUGH_REVIEWS.outcome(False, case.remembered)

    within = ""
    if case.grouped:
        within = f" in {count} groups ({case.evidence.grouped_by or 'given'})"

    detail = f"{case.reviews} test reviews{within}, at least {limit}{' groups' * case.grouped} are needed"
    return ENOUGH_REVIEWS.outcome(
        count >= limit,
        detail + f"; {MORE_REVIEWS}" * (count < limit),
        count,
        limit,
    )


def finite_figures(case: GateCase) -> RuleOutcome:
    """Refuse figures that are not finite numbers, of either model.

    Exception: a champion that gives a review probability 0 does not block a challenger that gives none probability 0.
    By any proper score the champion is worse.
    """
    bad = []
    if not case.better_without_interval:
        bad = case.not_finite()

    return FINITE_FIGURES.outcome(
        not bad, "; ".join(bad) or case.better_without_interval or "all figures are finite"
    )


def data_checks(case: GateCase) -> RuleOutcome:
    """Refuse if a suite of expectations failed or none was run."""
    return DATA_CHECKS.report_outcome(case.evidence.checks_passed, case.evidence.checks_detail)


def leak_certificate(case: GateCase) -> RuleOutcome:
    """Refuse unless a verified certificate says that none of these test reviews was found in the training data."""
    leaks = case.evidence.leaks
    tested = case.evidence.challenger.test
    if leaks.free is None:
        return LEAK_CERTIFICATE.outcome(False, leaks.detail or "there is no leak certificate")
    if leaks.free and leaks.test != tested:
        seen = f"the leak certificate is of the test set {leaks.test}"
        return LEAK_CERTIFICATE.outcome(False, f"{seen}, but {tested} was measured")
    return LEAK_CERTIFICATE.report_outcome(
        leaks.free, "; ".join(filter(None, (leaks.detail, case.champion_memory)))
    )


def smoke_test(case: GateCase) -> RuleOutcome:
    """Refuse a version that does not answer in a fresh process."""
    if case.identical and case.evidence.smoke_passed is None:
        return SMOKE_TEST.outcome(None, NOTHING_NEW)
    return SMOKE_TEST.report_outcome(case.evidence.smoke_passed, case.evidence.smoke_detail)


def latency(case: GateCase) -> RuleOutcome:
    """Refuse a model that is too slow with its answers."""
    measured = case.evidence.latency
    limit = case.policy.max_latency_ms
    if measured is None and case.identical:
        return LATENCY.outcome(None, NOTHING_NEW)
    if measured is None:
        return LATENCY.at_most(None, limit, "the time that an answer takes was not measured")

    what = "answers" if measured.word is None else "suggestions"
    detail = f"95 % of the {what} take at most {measured.p95:.1f} ms (median {measured.p50:.1f})"
    detail += "" if measured.word is None else f", a written word {measured.word:.1f} ms"
    if limit is not None and not measured.p95 <= limit:
        detail += (
            f". At most {limit:g} ms are allowed: fit a smaller model, or repeat the command with "
            f"`--set promotion.max_latency_ms={_above(measured.p95)}`"
        )

    return LATENCY.at_most(measured.p95, limit, detail)


def _above(value: float) -> str:
    """Return a limit with two significant digits, a fifth above a measured value."""
    if 1 <= value < math.inf:
        return f"{float(f'{1.2 * value:.2g}'):.0f}"
    return "none"


def size(case: GateCase) -> RuleOutcome:
    """Refuse a bundle that is larger than the limit."""
    megabytes = case.evidence.megabytes
    detail = "its size is not known" if megabytes is None else f"it has {megabytes:.1f} MB"
    return SIZE.at_most(megabytes, case.policy.max_megabytes, detail)


def better_than_baseline(case: GateCase) -> RuleOutcome:
    """Refuse a first model that is not surely better than the baseline named in the configuration.

    If there is a champion, the gain over it decides, and `not_worse_than_baseline` is enough: if all gains are small, a
    model that is surely better than the champion need not be surely better than the baseline too.
    """
    if case.faces_champion:
        return BETTER_THAN_BASELINE.outcome(None, "it must be better than the champion")
    return _compare_with_baseline(case, BETTER_THAN_BASELINE, case.surely_better_than)


def not_worse_than_baseline(case: GateCase) -> RuleOutcome:
    """Refuse a successor of a champion that is surely worse than the baseline: then the baseline should be champion."""
    if not case.faces_champion:
        return NOT_WORSE_THAN_BASELINE.outcome(None, case.lost or NO_CHAMPION)
    return _compare_with_baseline(case, NOT_WORSE_THAN_BASELINE, case.not_surely_worse_than)


def _compare_with_baseline(
    case: GateCase,
    rule: GateRule,
    compare: Callable[[GateRule, str, ModelEvidence[Any], float], RuleOutcome],
) -> RuleOutcome:
    """Return the outcome of a comparison with the baseline, or why there is none."""
    baseline = case.evidence.baseline
    if baseline is None:
        return rule.outcome(False, "there are no figures of a baseline")
    who = f"the baseline '{baseline.name}'"
    if baseline.digest == case.evidence.challenger.digest:
        return rule.outcome(None, f"the challenger is {who} itself")
    if why := case.unlike(baseline):
        return rule.outcome(False, f"{who}: {why}")
    return compare(rule, who, baseline, case.policy.min_gain_over_baseline)


def better_than_champion(case: GateCase) -> RuleOutcome:
    """Refuse a gain over the champion that may be chance, or at or below the required one; a tie keeps the champion."""
    if case.problem or case.evidence.champion is None:
        return BETTER_THAN_CHAMPION.outcome(None, case.problem)
    if case.better_without_interval:
        return BETTER_THAN_CHAMPION.outcome(True, case.better_without_interval)
    if case.same_scores:
        return BETTER_THAN_CHAMPION.outcome(
            False,
            "it is the champion made again, with equal scores: nothing needs to be done",
        )

    return case.surely_better_than(
        BETTER_THAN_CHAMPION,
        "the champion",
        case.evidence.champion,
        getattr(case.policy, case.MIN_GAIN),
    )


def no_slice_worse(case: GateCase) -> RuleOutcome:
    """Refuse a challenger that is surely worse on a slice by more than the limit.

    A slice fails if it is worse by more than the policy allows *and* this is very unlikely to be chance. The first
    condition alone would refuse good models: among dozens of slices of thirty reviews one is always a few per cent
    worse. The second condition alone would also refuse them, for losses that are sure but too small to matter.
    """
    limit = case.policy.max_slice_loss
    least = case.policy.min_slice_reviews
    if case.problem:
        return NO_SLICE_WORSE.outcome(None, case.problem)
    if case.better_without_interval or case.not_finite():
        return NO_SLICE_WORSE.outcome(None, "figures that are not finite have no slices")

    table = case.slice_losses()
    if table.is_empty():
        return NO_SLICE_WORSE.outcome(None, f"no slice has {least} test reviews", None, limit)

    if limit is None:
        too_much = table.clear()
    else:
        too_much = table.filter((pl.col("loss") > limit) & (pl.col("surely") > 0))

    shown = (table if too_much.is_empty() else too_much).row(0, named=True)
    sure = ", which may be chance"
    if shown["surely"] > 0:
        sure = f", by at least {shown['surely']:.2%}"

    detail = f"the worst of {len(table)} slices is {shown['dimension']} {shown['slice']} ({shown['reviews']} reviews): "
    detail += (
        f"{case.loss_in_words(shown['loss'], on_slice=True)}{sure if shown['loss'] > 0 else ''}"
    )
    return NO_SLICE_WORSE.compare(detail, shown["loss"], limit, lambda *_: too_much.is_empty())


def no_forgetting(case: GateCase) -> RuleOutcome:
    """Refuse a challenger that is surely worse, by more than the limit, on the champion's own test reviews.

    Both models are measured on the challenger's test reviews, which come from the challenger's data. If this is other
    data than the champion's, a model that knows nothing about the champion's data may be far better on these reviews.
    "Surely" means that the whole interval of the loss is above the limit. So an equal model is hardly ever refused, and
    a much worse model is refused if there are enough reviews.
    """
    limit = case.policy.max_champion_loss
    own_reviews = case.evidence.champion_reviews
    if why := _nothing_to_forget(case):
        return NO_FORGETTING.outcome(None, why, None, limit)
    if own_reviews is None:
        return NO_FORGETTING.outcome(
            False, "the models were not tried on the champion's own test reviews", None, limit
        )
    if own_reviews.problem:
        return NO_FORGETTING.outcome(False, own_reviews.problem, None, limit)
    if own_reviews.same:
        return NO_FORGETTING.outcome(
            True, "the champion's own test reviews are those of the challenger", None, limit
        )

    about = _about_reviews(
        own_reviews, "drawn" if own_reviews.left > case.policy.champion_reviews else "with a label"
    )
    if own_reviews.tried < case.policy.min_test_reviews:
        return NO_FORGETTING.outcome(None, f"{about}: too few to judge", None, limit)
    if outcome := case.loss_without_interval():
        return NO_FORGETTING.outcome(outcome.passed, f"{about}: {outcome.detail}")

    loss = case.champion_loss
    if loss is None or not math.isfinite(loss.low):
        return NO_FORGETTING.outcome(
            False,
            f"{about}: not the same reviews, or fewer than two groups of them",
            None,
            limit,
        )

    sure = f"cautious {100 * loss.confidence:.4g} % interval of the loss: {loss.low:+.2%} to {loss.high:+.2%}"
    detail = f"{about}: {case.loss_in_words(loss.estimate)} ({sure})"
    return NO_FORGETTING.outcome(limit is not None and loss.low <= limit, detail, loss.low, limit)


def _nothing_to_forget(case: GateCase) -> str:
    champion = case.evidence.champion
    if champion is None:
        return NO_CHAMPION
    if case.identical:
        return ITSELF
    if case.lost:
        return case.lost
    if champion.rows is None:
        return case.problem
    if case.policy.max_champion_loss is None:
        return "the policy sets no limit, so the models were not tried on the champion's own test reviews"

    return ""


def _about_reviews(own_reviews: ChampionReviews[Any], chosen: str) -> str:
    """Return which of the champion's own test reviews were used, and how many were left out.

    *chosen* says in which way only some of those were used that the challenger has not learnt from.
    """
    drawn = ""
    if own_reviews.tried < own_reviews.left:
        drawn = f"{own_reviews.tried} {chosen} of "

    about = f"on {drawn}{own_reviews.left} of the champion's own {own_reviews.reviews} test reviews"
    left_out = {"id": own_reviews.learnt_ids, "text": own_reviews.learnt_texts}
    shares = [f"{count} by {what}" for what, count in left_out.items() if count]
    if shares:
        return f"{about} (the challenger learnt from the others: {', '.join(shares)})"
    return about
