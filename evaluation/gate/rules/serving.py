"""Check that the registered model answers, and is fast and small enough."""

from __future__ import annotations

from evaluation.gate.decision import RuleOutcome
from evaluation.gate.rules.case import GateCase, at_most, said

NOTHING_NEW = "nothing new was registered"


def smoke_test(case: GateCase) -> RuleOutcome:
    """Refuse a version that does not answer in a fresh process."""
    if case.identical and case.evidence.serving.smoke_passed is None:
        return RuleOutcome("smoke test", None, NOTHING_NEW)
    return said("smoke test", case.evidence.serving.smoke_passed, case.evidence.serving.smoke_detail)


def latency(case: GateCase) -> RuleOutcome:
    """Refuse a model that is too slow with its suggestions."""
    name, found, limit = "latency", case.evidence.serving.latency, case.policy.max_latency_ms
    if found is None and case.identical:
        return RuleOutcome(name, None, NOTHING_NEW)
    if found is None:
        return at_most(name, None, limit, "the time that a suggestion takes was not measured")
    detail = f"a suggestion takes {found.p50:.1f} ms (median), 95 % come within {found.p95:.1f} ms; "
    return at_most(name, found.p95, limit, f"{detail}a written word takes {found.word:.1f} ms")


def size(case: GateCase) -> RuleOutcome:
    """Refuse a bundle that is larger than the limit."""
    found = case.evidence.serving.megabytes
    detail = "the size of the bundle is not known" if found is None else f"the bundle has {found:.1f} MB"
    return at_most("size", found, case.policy.max_megabytes, detail)
