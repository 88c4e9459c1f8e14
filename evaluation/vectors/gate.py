"""Decide whether word vectors become champion: policy + evidence → decision.

This is a pure function; the caller moves the alias. A challenger becomes champion only if no rule fails
(`evaluation/vectors/rules.py`). Both sets of vectors must have ranked the same words of the same test reviews
(`evaluation/vectors/ranked_words.py`). A tie keeps the champion. Missing evidence counts against the challenger.
"""

from __future__ import annotations

from core.config.sections.embedding import EmbeddingPromotion
from evaluation.gate.decision import Decision, rounded
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
    rules = tuple(rule(case) for rule in (*RULES, *(RULES_OF_RANKS if case.measured else ())))
    # If the challenger is the champion, the first failed rule is enough.
    failed = [rule for rule in rules if rule.passed is False][: 1 if case.identical else None]
    return Decision(
        promote=not failed,
        reason="; ".join(rule.detail for rule in failed) or _praise(case),
        rules=rules,
        metric=f"{_measure(case)}: {METRICS[_measure(case)]} (higher is better)",
        challenger=evidence.challenger.digest,
        champion=evidence.champion.digest if evidence.champion else None,
        test_set=evidence.challenger.test,
        figures={name: rounded(value) for name, value in _figures(case).items()} if case.measured else {},
        challenger_scores=case.challenger.digest if case.measured else "",
        champion_scores=case.champion.digest if case.measured and case.champion else None,
    )


def _praise(case: VectorsCase) -> str:
    if case.lost:
        return f"{case.lost}: the policy allows replacing it, and all rules passed"
    if case.gain is None:
        return "first model, all rules passed"
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
    if (loss := case.champion_loss) is not None:
        found |= {"champion's reviews": float(loss.reviews), "champion's reviews, loss": loss.estimate,
                  "champion's reviews, loss, lower end": loss.low,
                  "champion's reviews, loss, upper end": loss.high}  # fmt: skip
    if (gain := case.gain) is not None:
        found |= {"gain": gain.estimate, "gain, lower end": gain.low, "gain, upper end": gain.high,
                  "gain, confidence": gain.confidence}  # fmt: skip
    return found
