"""Are the data fit to decide by?"""

from __future__ import annotations

from evaluation.gate.decision import RuleOutcome
from evaluation.gate.rules.case import Case, said


def data_checks(case: Case) -> RuleOutcome:
    """Refuse where a suite of expectations failed or none was run."""
    return said("data checks", case.evidence.checks_passed, case.evidence.checks_detail)


def leak_certificate(case: Case) -> RuleOutcome:
    """Refuse unless a certificate, verified now and of these very test reviews, says that none is in the training."""
    name, evidence = "leak certificate", case.evidence
    if not case.policy.require_leak_certificate:
        return RuleOutcome(name, None, f"the policy asks for none; {evidence.leak_detail or 'nothing is known'}")
    if evidence.leak_free is None:
        return RuleOutcome(name, False, evidence.leak_detail or "there is no leak certificate")
    if evidence.leak_free and evidence.leak_test != evidence.challenger_test:
        seen = f"the leak certificate is of the test set {evidence.leak_test}"
        return RuleOutcome(name, False, f"{seen}, but {evidence.challenger_test} was scored")
    return said(name, evidence.leak_free, evidence.leak_detail)


def drift(case: Case) -> RuleOutcome:
    """Say whether the new reviews differ from those that the champion knows; it decides nothing.

    Drift is a reason to retrain, not one to keep a champion of the past.
    """
    return RuleOutcome("drift", None, case.evidence.drift or "it is not known whether the reviews have drifted")
