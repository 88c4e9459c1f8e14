"""Decide whether word vectors become champion: policy + evidence → decision.

This is a pure function; the caller moves the alias. A challenger becomes champion only if no rule fails
(`evaluation/vectors/rules.py`). Both sets of vectors must have ranked the same words of the same test reviews
(`evaluation/vectors/ranked_words.py`). A tie keeps the champion. Missing evidence counts against the challenger.
"""

from __future__ import annotations

from core.config.sections.embedding import EmbeddingPromotion
from evaluation.gate.decision import Decision, gain_figures, loss_figures
from evaluation.statistics.groups import effective_number
from evaluation.vectors.evidence import VectorsCase, VectorsEvidence
from evaluation.vectors.rules import RULES, RULES_OF_RANKS

BY_OUTPUT, BY_COSINE = "ranked", "ranked by cosine"
"""Names of the measure: by output vectors, and by the cosine of input vectors. Their figures are not on one scale."""
METRICS = {
    BY_OUTPUT: "share of true words above a noise word, by output vectors (u · h)",
    BY_COSINE: "share of true words above a noise word, by the cosine of input vectors",
}


def decide_vectors(policy: EmbeddingPromotion, evidence: VectorsEvidence) -> Decision:
    """Apply every rule and return the decision. Equal evidence gives an equal decision, to the byte."""
    case = VectorsCase(policy, evidence)
    rules = (*RULES, *(RULES_OF_RANKS if case.measured else ()))
    return case.decide(
        rules, _praise, _figures(case) if case.measured else {},
        metric=f"{_measure(case)}: {METRICS[_measure(case)]} (higher is better)",
        challenger_scores=case.challenger.digest if case.measured else "",
        champion_scores=case.champion.digest if case.measured and case.champion else None,
    )  # fmt: skip


def _praise(case: VectorsCase) -> str:
    if case.gain is None:
        return ""
    return f"it ranks {100 * case.gain.estimate:.2f} points more words right than the champion"


def _measure(case: VectorsCase) -> str:
    return BY_OUTPUT if case.evidence.by_output else BY_COSINE


def _figures(case: VectorsCase) -> dict[str, float]:
    measure = _measure(case)
    found = {f"challenger, {measure}": case.challenger.ranked}
    if case.champion is not None:
        found[f"champion, {measure}"] = case.champion.ranked
    if case.evidence.counts is not None:
        found[f"word counts, {measure}"] = case.evidence.counts.ranked
    found |= {"test reviews": float(len(case.challenger)), "test windows": float(case.challenger.windows_D.sum()),
              "test groups": float(len(case.group_sizes)),
              "test groups, effective": effective_number(case.group_sizes)}  # fmt: skip
    if case.champion_loss is not None:
        found |= loss_figures(case.champion_loss)
    if case.gain is not None:
        found |= gain_figures(case.gain)
    return found
