"""Check that the data are good enough to base a decision on."""

from __future__ import annotations

from evaluation.gate.decision import RuleOutcome
from evaluation.gate.rules.case import Case, said


def data_checks(case: Case) -> RuleOutcome:
    """Refuse if a suite of expectations failed or none was run."""
    return said("data checks", case.evidence.checks_passed, case.evidence.checks_detail)


def leak_certificate(case: Case) -> RuleOutcome:
    """Refuse unless a verified certificate of these test reviews says that none of them is in the training data."""
    name, evidence = "leak certificate", case.evidence
    if not case.policy.require_leak_certificate:
        return RuleOutcome(name, None, f"the policy requires none; {evidence.leak_detail or 'nothing is known'}")
    if evidence.leak_free is None:
        return RuleOutcome(name, False, evidence.leak_detail or "there is no leak certificate")
    if evidence.leak_free and evidence.leak_test != evidence.challenger_test:
        seen = f"the leak certificate is of the test set {evidence.leak_test}"
        return RuleOutcome(name, False, f"{seen}, but {evidence.challenger_test} was scored")
    return said(name, evidence.leak_free, evidence.leak_detail)


def drift(case: Case) -> RuleOutcome:
    """Report whether the new reviews differ from those that the champion was trained on; never fails.

    Drift is a reason to retrain, not a reason to keep an old champion.
    """
    return RuleOutcome("drift", None, case.evidence.drift or "it is not known whether the reviews have drifted")
