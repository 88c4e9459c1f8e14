"""Decide whether a classifier becomes champion: policy + evidence → decision.

This is a pure function; the caller moves the alias. A challenger becomes champion only if no rule fails
(`evaluation/classification/rules.py`). Both classifiers must have answered the same frozen test reviews. They are
compared by macro-F1, because with unequal labels the accuracy hides a label that is never found. A tie keeps the
champion. A figure that is not a number never promotes. Missing evidence counts against the challenger.
"""

from __future__ import annotations

import hashlib

from core.config.sections.classification import ClassificationPromotion
from evaluation.classification.case import ClassifierCase
from evaluation.classification.evidence import ClassifierEvidence
from evaluation.classification.figures import figures
from evaluation.classification.predicted import Predicted
from evaluation.classification.rules import RULES, RULES_OF_ANSWERS
from evaluation.gate.decision import Decision, gain_figures, loss_figures

METRIC = "macro-F1 (higher is better)"


def decide(policy: ClassificationPromotion, evidence: ClassifierEvidence) -> Decision:
    """Apply every rule and return the decision. Equal evidence gives an equal decision, to the byte."""
    case = ClassifierCase.of(policy, evidence)
    rules = (*RULES, *(RULES_OF_ANSWERS if case.answered else ()))
    return case.decide(
        rules, _praise, _figures(case) if case.answered else {}, metric=METRIC,
        challenger_scores=answers_digest(case.challenger) if case.answered else "",
        champion_scores=None if case.champion is None else answers_digest(case.champion),
        champion_reviews=_champion_reviews(case),
    )  # fmt: skip


def answers_digest(predicted: Predicted) -> str:
    """Return the SHA-256 of labels, answers, true labels and probabilities, independent of the order of the reviews."""
    rows = predicted.sorted()
    digest = hashlib.sha256("\n".join([*rows.labels, "", *rows.review_ids]).encode())
    for table in (rows.truth_N, rows.answers_N, rows.probabilities_NK):
        if table is not None:
            digest.update(table.astype("<f8").tobytes())
    return digest.hexdigest()


def _champion_reviews(case: ClassifierCase) -> dict[str, str] | None:
    """Return digests that identify the answers on the champion's own test reviews; None if there are none."""
    if case.champion_pair is None:
        return None
    ours, theirs = case.champion_pair
    return {"challenger_scores": answers_digest(ours), "champion_scores": answers_digest(theirs)}


def _praise(case: ClassifierCase) -> str:
    if case.comparison is None:
        return ""
    return f"its macro-F1 is {100 * case.comparison.macro_f1.estimate:.2f} points above the champion's"


def _figures(case: ClassifierCase) -> dict[str, float]:
    told = {"challenger": case.figures}
    if case.champion_figures is not None and not case.problem:
        told["champion"] = case.champion_figures
    baseline = case.evidence.baseline
    if baseline is not None and baseline.predicted is not None and not case.unlike(baseline):
        told["baseline"] = figures(baseline.predicted)
    found = {f"{who}, macro-F1": of.macro_f1 for who, of in told.items()}
    found |= {f"{who}, accuracy": of.accuracy for who, of in told.items()}
    found["majority label, accuracy"] = case.figures.majority_accuracy
    found |= {"test reviews": float(len(case.challenger)), "test groups": float(len(case.group_sizes)),
              "test groups, effective": case.effective_groups}  # fmt: skip
    if case.champion_loss is not None:
        found |= loss_figures(case.champion_loss)
    if case.comparison is not None:
        found |= {**gain_figures(case.comparison.macro_f1), "McNemar's p": case.comparison.p_value}
    return found
