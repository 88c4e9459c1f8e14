"""Check that the two models can be compared, and that the figures are those of the model that would be served.

Check that the data are good enough to base a decision on.
"""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from evaluation.gate.case import MORE_REVIEWS, NO_CHAMPION, GateCase, Rivals, open_nats, said
from evaluation.gate.decision import RuleOutcome
from evaluation.gate.evidence import Leaks
from evaluation.statistics.groups import effective_number
from models.base import STATIC

DEPARTURE = 1e-3
"""Largest allowed difference, relative to the nats of one review, between two scorings of one bundle; the same as
`models.bundles.bundle.PROBE_TOLERANCE`. Number formats round differently from machine to machine; a changed rule or
weight makes a larger difference.
"""


def another_model(case: Rivals) -> RuleOutcome:
    """Refuse the champion itself."""
    name = "another model"
    if case.evidence.champion is None:
        return RuleOutcome(name, None, NO_CHAMPION)
    if case.identical:
        digest = case.evidence.challenger.digest
        return RuleOutcome(name, False, f"the challenger is identical to the champion ({digest[:12]})")
    if case.evidence.challenger.digest == case.evidence.champion.digest:
        return RuleOutcome(name, None, "the challenger is the lost champion, made again")
    return RuleOutcome(name, True, "challenger and champion are different bundles")


def not_rolled_back(case: Rivals) -> RuleOutcome:
    """Refuse a fit that somebody has rolled back from: its figures have not shown what was wrong with it."""
    name, why = "not rolled back", case.evidence.rolled_back
    if case.identical:
        return RuleOutcome(name, None, "the challenger is the champion")
    if not why:
        return RuleOutcome(name, True, "nobody has rolled back from this fit")
    if case.policy.allow_rolled_back:
        return RuleOutcome(name, None, f"{why}; the policy allows it")
    remedy = f"change data or settings, promote it by hand (--force), or set {case.SECTION}.allow_rolled_back"
    return RuleOutcome(name, False, f"{why}: {remedy}")


def champion_at_hand(case: Rivals) -> RuleOutcome:
    """Refuse if there is a champion that cannot be measured, because the loss from replacing it is unknown."""
    name = "champion at hand"
    if case.evidence.champion is None:
        return RuleOutcome(name, None, NO_CHAMPION)
    if case.lost and case.policy.replace_lost_champion:
        return RuleOutcome(name, None, f"{case.lost}; the policy allows replacing it")
    remedy = f"roll back to a version that opens, or set {case.SECTION}.replace_lost_champion"
    detail = f"{case.lost}: {remedy}" if case.lost else "the champion's bundle opens"
    return RuleOutcome(name, not case.lost, detail)


def scored_now(case: GateCase) -> RuleOutcome:
    """Refuse figures that were not computed in this run, or that differ from those in the store."""
    name, evidence = "scored now", case.evidence
    if case.identical:
        return RuleOutcome(name, None, "the challenger is the champion, so it was not scored again")
    if evidence.challenger.problem:
        return RuleOutcome(name, False, evidence.challenger.problem)
    departures = {"challenger": evidence.challenger.departure}
    if evidence.champion is not None and case.champion_scored:
        departures["champion"] = evidence.champion.departure
    stored = [who for who, departure in departures.items() if departure is None]
    if stored:
        detail = f"the scores of the {' and the '.join(stored)} were read from the store, not computed now"
        allowed = not case.policy.rescore
        return RuleOutcome(name, None if allowed else False, f"{detail}; the policy allows it" if allowed else detail)
    worst = max(departures, key=lambda who: _or_infinite(departures[who]))
    departure = _or_infinite(departures[worst])
    detail = f"{' and '.join(departures)} scored in this run; "
    detail += f"the {worst}'s scores differ from the stored ones by at most {departure:.1e} of a review's nats" \
        if departure else "all scores equal the stored ones"
    return RuleOutcome(name, departure <= DEPARTURE, detail, departure, DEPARTURE)


def _or_infinite(departure: float | None) -> float:
    return math.inf if departure is None or math.isnan(departure) else departure


def same_test_reviews(case: GateCase) -> RuleOutcome:
    """Refuse unless both models were scored on the same reviews, each review once."""
    name = "same test reviews"
    if case.evidence.champion is None or (case.lost and not case.champion_scored):
        return RuleOutcome(name, None, case.problem)
    if not case.champion_scored:
        return RuleOutcome(name, False, "the champion was not scored on the challenger's test reviews")
    match = f"both were scored on {case.evidence.challenger.test}, {case.challenger.reviews} reviews, one by one"
    return RuleOutcome(name, not case.problem, case.problem or match)


def same_family(case: Rivals) -> RuleOutcome:
    """Refuse a challenger trained on another family of data than the champion.

    It may be better on its own text and worthless on the champion's.
    """
    name = "same data family"
    if case.evidence.champion is None:
        return RuleOutcome(name, None, NO_CHAMPION)
    ours, theirs = case.evidence.challenger.family, case.evidence.champion.family
    if case.identical:
        return RuleOutcome(name, None, "the challenger is the champion, so there is nothing to compare")
    if ours.known and ours.name == theirs.name:
        sources = "the same sources" if ours.sources and ours.sources == theirs.sources else "other sources"
        return RuleOutcome(name, True, f"both were made from data of the family '{ours.name}', of {sources}")
    if not theirs.known and case.lost:
        return RuleOutcome(name, None, f"{case.lost}, and it is not known from which data it was made")
    other = f"the challenger was made from data of the family '{ours.name}', the champion from '{theirs.name}'"
    if case.policy.allow_other_family:
        return RuleOutcome(name, None, f"{other}; the policy allows it")
    remedy = f"register it under another name ({case.name_setting}), or set {case.SECTION}.allow_other_family"
    return RuleOutcome(name, False, f"{other}: {remedy}")


def same_reading(case: GateCase) -> RuleOutcome:
    """Refuse a challenger trained on text that was cleaned in another way, unless the policy allows it."""
    name, unfair = "same reading of the text", case.evidence.unfair
    if case.evidence.champion is None:
        return RuleOutcome(name, None, NO_CHAMPION)
    if unfair and case.policy.allow_other_reading:
        return RuleOutcome(name, None, f"{unfair}; the policy allows it")
    if unfair:
        return RuleOutcome(name, False, f"{unfair}; it passes only with promotion.allow_other_reading")
    return RuleOutcome(name, True, "both were trained on text that was cleaned in the same way")


def same_adaptation(case: GateCase) -> RuleOutcome:
    """Refuse a challenger that adapts in another way than the policy names; report if the champion adapts differently.

    A difference from the champion does not fail the rule: each review is scored from the fresh state, by a proper
    distribution. But a static model hardly ever beats an adaptive one, so the remedy is shown too.
    """
    name, way = "same adaptation", case.evidence.challenger.adaptation
    if why := unwanted_adaptation(way, case.policy.adaptation):
        return RuleOutcome(name, False, why)
    if (other := case.evidence.other_adaptation) and case.evidence.champion:
        remedy = "" if case.policy.adaptation in ("any", case.evidence.champion.adaptation) else (
            "; to compare models of one kind, roll back to a champion of the wanted kind"
        )  # fmt: skip
        return RuleOutcome(name, None, f"{other}; each review was scored from the fresh state{remedy}")
    return RuleOutcome(name, True, f"all figures of the challenger are {way}")


def unwanted_adaptation(way: str, wanted: str) -> str:
    """Return why a model that adapts in this way may not be challenger; empty if it may.

    Args:
        way: "static", or how it adapts to the review that it is measured on.
        wanted: `promotion.adaptation`.
    """
    if wanted in ("any", way):
        return ""
    said = "it is a static model" if way == STATIC else f"it adapts to the text that it is measured on ({way})"
    return f"{said}, and promotion.adaptation asks for {wanted} models"


def enough_reviews(case: GateCase) -> RuleOutcome:
    """Refuse to decide with too few independent groups of reviews, and show the smallest gain that they can prove."""
    count, limit = case.groups, case.policy.min_test_reviews
    grouped = case.groups_D is not None
    within = f" in {count} groups ({case.evidence.data.grouped_by or 'given'})" if grouped else ""
    what = "groups" if grouped else "of them"
    detail = f"{case.challenger.reviews} test reviews{within}, at least {limit} {what} are needed; they count as "
    detail += f"{case.effective_groups:.0f} of equal length, so a gain below {case.least_gain:.2%} cannot be proved"
    if count < limit:
        detail += f"; {MORE_REVIEWS}"
    return RuleOutcome("enough reviews", count >= limit, detail, count, limit)


def count_groups(reviews: int, sizes: np.ndarray, grouped_by: str | None, limit: int) -> RuleOutcome:
    """Return the outcome of the rule "enough reviews" for figures that count reviews, not bytes.

    Args:
        reviews: Number of test reviews.
        grouped_by: Why reviews are one group; None if each review is a separate group.
        limit: Minimum number of groups.
    """
    count, grouped = len(sizes), grouped_by is not None
    within = f" in {count} groups ({grouped_by or 'given'})" if grouped else ""
    detail = f"{reviews} test reviews{within}, at least {limit} {'groups' if grouped else 'of them'} are "
    detail += f"needed; they count as {effective_number(sizes):.0f} of equal size" if grouped else "needed"
    return RuleOutcome("enough reviews", count >= limit, detail + f"; {MORE_REVIEWS}" * (count < limit), count, limit)


def finite_figures(case: GateCase) -> RuleOutcome:
    """Refuse figures that are not finite numbers, of either model.

    Exception: a champion that gives a review probability 0 does not block a challenger that gives none probability 0.
    By any proper score the champion is worse.
    """
    if case.beyond:
        return RuleOutcome("finite figures", True, case.beyond)
    tables = {"challenger": case.challenger_rows, "champion": case.champion_rows}
    bad = [_not_finite(who, rows) for who, rows in tables.items() if not np.isfinite(open_nats(rows)).all()]
    passed = not bad and math.isfinite(case.challenger.open_bits_per_byte)
    return RuleOutcome("finite figures", passed, "; ".join(bad) or "all scores are finite")


def _not_finite(who: str, rows: pl.DataFrame) -> str:
    """Say how many reviews have no finite score: probability 0 (possible with maximum likelihood) or NaN."""
    nats_D = open_nats(rows)
    impossible, other = int(np.isinf(nats_D).sum()), int(np.isnan(nats_D).sum())
    counts = [f"calls {impossible} of {len(rows)} test reviews impossible (probability 0)"] if impossible else []
    counts += [f"has scores of {other} test reviews that are not a finite number"] if other else []
    return f"the {who} {' and '.join(counts)}"


def data_checks(case: Rivals) -> RuleOutcome:
    """Refuse if a suite of expectations failed or none was run."""
    return said("data checks", case.evidence.data.checks_passed, case.evidence.data.checks_detail)


def leak_certificate(case: Rivals) -> RuleOutcome:
    """Refuse unless a verified certificate says that none of these test reviews was found in the training data."""
    required = case.policy.require_leak_certificate
    return certified(case.evidence.data.leaks, case.evidence.challenger.test, required=required)


def certified(leaks: Leaks, tested: str, *, required: bool) -> RuleOutcome:
    """Return the outcome of the rule "leak certificate" for the test reviews with the digest *tested*."""
    name = "leak certificate"
    if not required:
        return RuleOutcome(name, None, f"the policy requires none; {leaks.detail or 'nothing is known'}")
    if leaks.free is None:
        return RuleOutcome(name, False, leaks.detail or "there is no leak certificate")
    if leaks.free and leaks.test != tested:
        seen = f"the leak certificate is of the test set {leaks.test}"
        return RuleOutcome(name, False, f"{seen}, but {tested} was scored")
    return said(name, leaks.free, leaks.detail)


def drift(case: GateCase) -> RuleOutcome:
    """Report whether the new reviews differ from those that the champion was trained on; never fails.

    Drift is a reason to retrain, not a reason to keep an old champion.
    """
    return RuleOutcome("drift", None, case.evidence.data.drift or "it is not known whether the reviews have drifted")
