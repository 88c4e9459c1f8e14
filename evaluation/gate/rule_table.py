"""Declare the rules of the gate: name, evidence that each needs, unit, meaning of its value, setting with its limit.

What a rule does is a function of the same name in `rules.py`, or in the module of the family that it is for. Tables and
tags read unit and meaning here; a test compares names and settings with the evidence, the policies and the pages.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from operator import le

DIGITS = 9
"""Significant digits of a stored figure, so that a decision is the same text on every machine."""
SHARE = "%"
MARKS = {
    True: "passed",
    False: "failed",
    None: "not applicable",
}
SINGULAR = {
    "bits": "bit",
    "canaries": "canary",
    "groups": "group",
    "labels": "label",
    "passages": "passage",
    "words": "word",
}
"""Units after 1."""


@dataclass(frozen=True)
class RuleOutcome:
    """Outcome of one rule of the gate.

    Args:
        name: Name of the rule.
        passed: True, False, or None if the rule does not apply.
        detail: A sentence that gives the reason.
        value: The measured value, if it is a number.
        limit: The limit that the value is compared with.
    """

    name: str
    passed: bool | None
    detail: str
    value: float | None = None
    limit: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", round_figure(self.value))
        object.__setattr__(self, "limit", round_figure(self.limit))

    @property
    def outcome(self) -> str:
        """Outcome in words: "passed", "failed" or "not applicable"."""
        return MARKS[self.passed]

    def row(self) -> list[str]:
        """Return its row (`COLUMNS`) of the table of rules."""
        rule = RULES.get(self.name, GateRule(self.name))
        value, limit = (show_figure(one, rule.unit) for one in (self.value, self.limit))
        quantity = "" if self.value is None else rule.quantity
        return [self.name, self.outcome, quantity + value, limit, self.detail]


@dataclass(frozen=True)
class GateRule:
    """A rule of the gate.

    Args:
        name: Its name, for people.
        needs: Fields of `reviewlm.evaluation.gate.evidence.Evidence` that it looks at.
        unit: Unit of its value and its limit; `SHARE` is stored as a share and shown in percent.
        quantity: What its value is, where the name does not say so: of an interval it is the end that decides.
        limit: Field of the policy with its limit, or with the permission that switches it off.
        refusal: Why a model was refused if this rule failed, in at most 20 letters, for a column of a list.
    """

    name: str
    needs: tuple[str, ...] = ()
    unit: str = ""
    quantity: str = ""
    limit: str = ""
    refusal: str = ""

    def outcome(
        self,
        passed: bool | None,
        detail: str,
        value: float | None = None,
        limit: float | None = None,
    ) -> RuleOutcome:
        """Return an outcome of this rule; arguments as of `RuleOutcome`."""
        return RuleOutcome(
            self.name,
            passed,
            detail,
            value,
            limit,
        )

    def compare(
        self,
        detail: str,
        value: float | None,
        limit: float | None,
        passes: Callable[[float, float], bool],
    ) -> RuleOutcome:
        """Compare a value with its limit. No limit: the rule does not apply. A missing or NaN value: the rule fails.

        Args:
            detail: Describes the measured value, or why it is missing.
            value: The measured value.
            limit: The limit.
            passes: Whether a value passes a limit, e.g. `operator.le`.
        """
        if limit is None:
            return self.outcome(None, f"{detail}; there is no limit", value)
        return self.outcome(value is not None and passes(value, limit), detail, value, limit)

    def at_most(
        self,
        value: float | None,
        limit: float | None,
        detail: str,
    ) -> RuleOutcome:
        """Require that a value is not above its limit; see `compare`."""
        return self.compare(detail, value, limit, le)

    def report_outcome(self, passed: bool | None, detail: str) -> RuleOutcome:
        """Return the outcome of a test that was run outside the gate; a test that was not run fails."""
        if passed is None:
            return self.outcome(False, detail or f"there is no result of the {self.name}")
        return self.outcome(passed, detail or f"{self.name}: {'passed' if passed else 'failed'}")


def round_figure(value: float | None) -> float | None:
    """Return a finite number with nine significant digits; None for numbers that JSON does not allow."""
    if value is not None and math.isfinite(value):
        return float(f"{value:.{DIGITS}g}")
    return None


def show_figure(value: float | None, unit: str = "") -> str:
    """Return a figure as text for tables, with its unit."""
    if value is None:
        return "–"
    if unit == SHARE:
        return f"{100 * value:.4g}%"
    if not unit:
        return f"{value:.6g}"

    if value == 1:
        unit = SINGULAR.get(unit, unit)
    if float(value).is_integer() or abs(value) >= 1000:
        return f"{value:,.0f} {unit}"
    return f"{value:.4g} {unit}"


ANOTHER_MODEL = GateRule(
    "another model",
    refusal="same model",
    needs=(
        "challenger",
        "champion",
    ),
)
NOT_ROLLED_BACK = GateRule(
    "not rolled back",
    refusal="rolled back before",
    needs=("rolled_back",),
    limit="allow_rolled_back",
)
CHAMPION_AT_HAND = GateRule(
    "champion at hand",
    refusal="champion lost",
    needs=("champion",),
    limit="replace_lost_champion",
)
SCORED_NOW = GateRule(
    "scored in this run",
    refusal="scores changed",
    needs=(
        "challenger",
        "champion",
    ),
    unit=SHARE,
)
ANSWERS_AT_HAND = GateRule("answers at hand", refusal="answers missing", needs=("challenger",))
SAME_TEST_REVIEWS = GateRule(
    "same test reviews",
    refusal="other test reviews",
    needs=(
        "challenger",
        "champion",
    ),
)
SAME_FAMILY = GateRule(
    "same data family",
    refusal="other data family",
    needs=(
        "challenger",
        "champion",
    ),
    limit="allow_other_family",
)
SAME_READING = GateRule(
    "same reading of the text",
    refusal="other reading",
    needs=("unfair_because",),
    limit="allow_other_reading",
)
SAME_ADAPTATION = GateRule(
    "same adaptation",
    refusal="other adaptation",
    needs=(
        "challenger",
        "champion",
    ),
    limit="adaptation",
)
ENOUGH_REVIEWS = GateRule(
    "enough reviews",
    refusal="too few reviews",
    needs=(
        "challenger",
        "grouped_by",
    ),
    unit="groups",
    limit="min_test_reviews",
)
FINITE_FIGURES = GateRule(
    "finite figures",
    refusal="infinite figures",
    needs=(
        "challenger",
        "champion",
    ),
)
NOT_BELOW_FLOOR = GateRule(
    "not below the floor",
    refusal="below the floor",
    needs=("floor",),
    unit="bits/byte",
    quantity="gap, at most ",
)
DATA_CHECKS = GateRule(
    "data checks",
    refusal="data checks failed",
    needs=(
        "checks_passed",
        "checks_detail",
    ),
)
LEAK_CERTIFICATE = GateRule(
    "leak certificate",
    refusal="leak of test reviews",
    needs=(
        "leaks",
        "champion_learnt",
    ),
)
DRIFT = GateRule("drift", refusal="drift", needs=("drift",))
SMOKE_TEST = GateRule(
    "smoke test",
    refusal="smoke test failed",
    needs=(
        "smoke_passed",
        "smoke_detail",
    ),
)
LATENCY = GateRule(
    "latency",
    refusal="too slow",
    needs=("latency",),
    unit="ms",
    limit="max_latency_ms",
)
SIZE = GateRule(
    "size",
    refusal="too large",
    needs=("megabytes",),
    unit="MB",
    limit="max_megabytes",
)
BETTER_THAN_MAJORITY = GateRule(
    "better than the majority label",
    refusal="not above majority",
    needs=("challenger",),
    unit=SHARE,
    limit="min_gain_over_majority",
)
BETTER_THAN_BASELINE = GateRule(
    "better than the baseline",
    refusal="not above baseline",
    needs=(
        "challenger",
        "baseline",
    ),
    unit=SHARE,
    quantity="gain, at least ",
    limit="min_gain_over_baseline",
)
NOT_WORSE_THAN_BASELINE = GateRule(
    "not worse than the baseline",
    refusal="below the baseline",
    needs=(
        "challenger",
        "baseline",
    ),
    unit=SHARE,
    quantity="gain, at most ",
    limit="min_gain_over_baseline",
)
BETTER_THAN_CHAMPION = GateRule(
    "better than the champion",
    refusal="not surely better",
    needs=(
        "challenger",
        "champion",
    ),
    unit=SHARE,
    quantity="gain, at least ",
    limit="min_relative_gain",
)
NO_SLICE_WORSE = GateRule(
    "no slice worse",
    refusal="slice worse",
    needs=(
        "challenger",
        "champion",
        "reviews",
    ),
    unit=SHARE,
    quantity="loss ",
    limit="max_slice_loss",
)
NO_LABEL_GIVEN_UP = GateRule(
    "no label given up",
    refusal="label given up",
    needs=(
        "challenger",
        "champion",
    ),
    unit="labels",
)
NO_FORGETTING = GateRule(
    "no forgetting",
    refusal="forgets",
    needs=("champion_reviews",),
    unit=SHARE,
    quantity="loss, at least ",
    limit="max_champion_loss",
)
NOVELTY = GateRule(
    "novelty",
    refusal="too few new texts",
    needs=("audit",),
    unit=SHARE,
    quantity="new ",
    limit="min_novelty",
)
COPIED_SPAN = GateRule(
    "copied span",
    refusal="copies its reviews",
    needs=("audit",),
    unit="words",
    limit="max_copied_span",
)
KNOWN_SECRETS = GateRule(
    "known secrets",
    refusal="tells secrets",
    needs=(
        "audit",
        "single_review_model",
    ),
    unit="canaries",
    limit="max_exposure",
)
EXPOSURE = GateRule(
    "exposure",
    refusal="tells secrets",
    needs=("audit",),
    unit="bits",
    limit="max_exposure",
)
PRIVATE_PATTERNS = GateRule(
    "private patterns",
    refusal="private patterns",
    needs=("audit",),
    unit="passages",
    limit="max_private_patterns",
)
RULES = {rule.name: rule for rule in list(vars().values()) if isinstance(rule, GateRule)}
"""All rules, by name."""
