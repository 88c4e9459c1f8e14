"""Decide whether a challenger becomes champion: policy + evidence → decision.

This is a pure function; the caller moves the alias.

A challenger becomes champion only if no rule fails. Both models must have been scored in this run, on the same
frozen test reviews. They are compared by open bits per byte: a vocabulary cannot improve this figure by replacing words
with `<unk>` or by folding case (`models/tokens/surface.py` computes the price of the folded text). A tie keeps the
champion. A figure that is not a number never promotes. Missing evidence counts against the challenger. The rules are in
`evaluation/gate/rules/`; docs/concepts/registry/promotion.md explains their purpose and how often they err.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import polars as pl

from core.config.sections.promotion import PromotionConfig
from corpus.splitting.certificate import reviews_digest
from evaluation.gate.decision import Decision, gain_figures, loss_figures
from evaluation.gate.evidence import Evidence
from evaluation.gate.rules import RULES
from evaluation.gate.rules.case import GateCase
from evaluation.gate.rules.cautions import cautions
from evaluation.statistics.studentised import Intervals, studentised_intervals

METRIC = "open bits per byte (lower is better)"


def decide(
    policy: PromotionConfig, evidence: Evidence, intervals: Intervals = studentised_intervals
) -> Decision:
    """Apply every rule and return the decision. Equal evidence gives an equal decision, to the byte.

    *intervals* returns what `studentised_intervals` does, maybe because it was computed before.
    """
    case = replace(GateCase.of(policy, evidence), intervals=intervals)
    return case.decide(
        RULES, _praise, _figures(case), metric=METRIC,
        challenger_scores=scores_digest(case.challenger_rows),
        champion_scores=scores_digest(case.champion_rows) if case.champion_scored else None,
        passed_over=evidence.passed_over, warnings=cautions(case), champion_reviews=_champion_reviews(case),
    )  # fmt: skip


def scores_digest(rows: pl.DataFrame) -> str:
    """Return the SHA-256 of the scores that a decision uses, independent of the order of the reviews.

    Args:
        rows: Columns review_id, stars, bytes, nats and spelling_nats; the last two are included with all their bits.
    """
    ordered = rows.sort("review_id")
    told = ordered.select(pl.format("{} {} {}", "review_id", "stars", "bytes")).to_series()
    digest = hashlib.sha256("\n".join(told).encode())
    for column in ("nats", "spelling_nats"):
        digest.update(ordered[column].cast(pl.Float64).to_numpy().astype("<f8").tobytes())
    return digest.hexdigest()


def _champion_reviews(case: GateCase) -> dict[str, str] | None:
    """Return digests that identify the scores on the champion's own test reviews; None if there are no scores."""
    if case.champion_pair is None or case.champion_pair[1].is_empty():
        return None
    ours, theirs = case.champion_pair
    digests = {"challenger_scores": scores_digest(ours), "champion_scores": scores_digest(theirs)}
    return {"test_set": reviews_digest(theirs), **digests}


def _praise(case: GateCase) -> str:
    if not case.champion_scored:
        return ""
    if case.beyond:
        return case.beyond
    but = f"; {other}" if (other := case.evidence.other_adaptation) else ""
    return f"it is better than the champion by {case.gain:.2%} of its open bits per byte{but}"


def _figures(case: GateCase) -> dict[str, float]:
    ours, theirs = case.evidence.challenger_named, case.evidence.champion_named
    figures = {
        f"{ours}, open bits per byte": case.challenger.open_bits_per_byte,
        f"{ours}, bits per byte": case.challenger.bits_per_byte,
        "test reviews": float(case.challenger.reviews),
        "test groups": float(case.groups),
        "test groups, effective": case.effective_groups,
    }
    if case.champion_scored:
        figures[f"{theirs}, open bits per byte"] = case.champion.open_bits_per_byte
        figures[f"{theirs}, bits per byte"] = case.champion.bits_per_byte
    if case.champion_loss:
        figures |= loss_figures(case.champion_loss)
    if case.interval:
        figures["difference"] = case.challenger.open_bits_per_byte - case.champion.open_bits_per_byte
        figures |= gain_figures(case.interval)
    return figures
