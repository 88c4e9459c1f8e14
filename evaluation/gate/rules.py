"""Define the rules of the gate, in the order in which they are applied and shown.

A rule is a function from a `GateCase` to a `RuleOutcome`. To add a rule, write a function in one of these modules, and
add a line here, its limit in `core/config/sections/promotion.py` and its row in docs/concepts/registry/promotion.md.
"""

from __future__ import annotations

from collections.abc import Callable

from evaluation.gate.case import GateCase
from evaluation.gate.comparability import (
    another_model,
    champion_at_hand,
    data_checks,
    drift,
    enough_reviews,
    finite_figures,
    leak_certificate,
    not_rolled_back,
    same_adaptation,
    same_family,
    same_reading,
    same_test_reviews,
    scored_now,
)
from evaluation.gate.decision import RuleOutcome
from evaluation.gate.forgetting import no_forgetting
from evaluation.gate.memorisation import copied_span, exposure, novelty, private_patterns
from evaluation.gate.quality import (
    better_than_baseline,
    better_than_champion,
    latency,
    not_below_floor,
    size,
    smoke_test,
    surely_better,
)
from evaluation.gate.slices import no_slice_worse

Rule = Callable[[GateCase], RuleOutcome]

RULES: tuple[Rule, ...] = (
    another_model, not_rolled_back, champion_at_hand, scored_now, same_test_reviews, same_family, same_reading,
    same_adaptation, enough_reviews, finite_figures, not_below_floor, data_checks, leak_certificate, drift, smoke_test,
    latency, size, better_than_baseline, better_than_champion, surely_better, no_slice_worse, no_forgetting, novelty,
    copied_span, exposure, private_patterns,
)  # fmt: skip
RULES_OF_ALL = (
    another_model, not_rolled_back, champion_at_hand, same_family, data_checks, leak_certificate, smoke_test,
)  # fmt: skip
"""Rules with which the gate of classifiers begins."""
