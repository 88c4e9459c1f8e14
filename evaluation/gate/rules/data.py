"""Check that the data are good enough to base a decision on."""

from __future__ import annotations

from evaluation.gate.decision import RuleOutcome
from evaluation.gate.evidence import Leaks
from evaluation.gate.rules.case import GateCase, said
from evaluation.gate.rules.rivals import Rivals


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
