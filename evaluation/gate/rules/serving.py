"""Check that the registered model answers, and is fast and small enough."""

from __future__ import annotations

import math

from evaluation.gate.decision import RuleOutcome
from evaluation.gate.rules.case import at_most, said
from evaluation.gate.rules.rivals import Rivals

NOTHING_NEW = "nothing new was registered"


def smoke_test(case: Rivals) -> RuleOutcome:
    """Refuse a version that does not answer in a fresh process."""
    if case.identical and case.evidence.serving.smoke_passed is None:
        return RuleOutcome("smoke test", None, NOTHING_NEW)
    return said("smoke test", case.evidence.serving.smoke_passed, case.evidence.serving.smoke_detail)


def latency(case: Rivals) -> RuleOutcome:
    """Refuse a model that is too slow with its answers."""
    name, found, limit = "latency", case.evidence.serving.latency, case.policy.max_latency_ms
    if found is None and case.identical:
        return RuleOutcome(name, None, NOTHING_NEW)
    if found is None:
        return at_most(name, None, limit, "the time that an answer takes was not measured")
    what = "an answer" if found.word is None else "a suggestion"
    detail = f"{what} takes {found.p50:.1f} ms (median), 95 % come within {found.p95:.1f} ms"
    detail += "" if found.word is None else f"; a written word takes {found.word:.1f} ms"
    if limit is not None and not found.p95 <= limit:
        detail += (
            f". At most {limit:g} ms are allowed: fit a smaller model, or repeat the command with "
            f"`--set {case.SECTION}.max_latency_ms={_above(found.p95)}`"
        )
    return at_most(name, found.p95, limit, detail)


def _above(value: float) -> str:
    """Return a limit with two significant digits, a fifth above a measured value."""
    return f"{float(f'{1.2 * value:.2g}'):.0f}" if 1 <= value < math.inf else "none"


def size(case: Rivals) -> RuleOutcome:
    """Refuse a bundle that is larger than the limit."""
    found = case.evidence.serving.megabytes
    detail = "the size of the bundle is not known" if found is None else f"the bundle has {found:.1f} MB"
    return at_most("size", found, case.policy.max_megabytes, detail)
