"""Define what the gate of any family of models asks about challenger and champion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

from evaluation.gate.decision import Decision, RuleOutcome, rounded


class Rivals:
    """What the gate of any family of models asks about challenger and champion.

    Attributes:
        SECTION: Name of the policy's section in the configuration, for remedies.
        policy: A `GatePolicy`, with the limits of this family.
        evidence: A `GateEvidence` with `challenger` and `champion` (or None), each with `digest`, `problem`, `family`.
    """

    SECTION: ClassVar[str]
    policy: Any
    evidence: Any

    @classmethod
    def of(cls, policy: Any, evidence: Any) -> Self:
        """Sort the rows by review, because their order must not change which reviews are drawn, nor a last digit."""
        champion, baseline = (model and model.sorted() for model in (evidence.champion, evidence.baseline))
        challenger = evidence.challenger.sorted()
        ordered = replace(evidence, challenger=challenger, champion=champion, baseline=baseline)
        return cls(policy, ordered)  # type: ignore[call-arg]

    @property
    def name_setting(self) -> str:
        """The setting with the name of the registered model, for remedies."""
        return f"{self.SECTION}.model_name"

    @property
    def identical(self) -> bool:
        """Whether the challenger is the champion itself, and not a rebuilt replacement of a lost champion."""
        champion = self.evidence.champion
        return champion is not None and self.evidence.challenger.digest == champion.digest and not self.lost

    @property
    def lost(self) -> str:
        """Why the existing champion cannot be measured; empty if it can, or if there is none."""
        return self.evidence.champion.problem if self.evidence.champion else ""

    @property
    def champion_pair(self) -> tuple[Any, Any] | None:
        """What challenger and champion did on the champion's own test reviews; None unless both were tried on them."""
        found = self.evidence.champion_reviews
        if found is None or found.challenger is None or found.champion is None:
            return None
        return found.challenger, found.champion

    def decide(
        self, rules: Sequence[Callable[[Any], RuleOutcome]], praise: Callable[[Any], str],
        figures: Mapping[str, float], **known: Any,
    ) -> Decision:  # fmt: skip
        """Apply rules and return the decision; *known* are other fields.

        *praise* gives the reason if no rule fails and there is a champion at hand; empty: there is none.
        """
        outcomes = tuple(rule(self) for rule in rules)
        # If the challenger is the champion, the first failed rule is enough.
        failed = [rule for rule in outcomes if rule.passed is False][: 1 if self.identical else None]
        challenger, champion = self.evidence.challenger, self.evidence.champion
        reason = "; ".join(rule.detail for rule in failed) or self._praise(praise)
        return Decision(
            promote=not failed, reason=reason, rules=outcomes,
            challenger=challenger.digest, champion=champion.digest if champion else None, test_set=challenger.test,
            figures={name: rounded(value) for name, value in figures.items()}, **known,
        )  # fmt: skip

    def _praise(self, praise: Callable[[Any], str]) -> str:
        if self.lost:
            return f"{self.lost}: the policy allows replacing it, and all rules passed"
        return praise(self) or "first model, all rules passed"
