"""Define the rules of the gate, in the order in which they are applied and shown.

A rule is a function from a `GateCase` to a `RuleOutcome`. To add a rule, write a function in one of these modules, and
add a line here, its limit in `core/config/sections/promotion.py` and its row in docs/concepts/registry/promotion.md.
"""

from __future__ import annotations

from collections.abc import Callable

from evaluation.gate.decision import RuleOutcome
from evaluation.gate.rules.case import GateCase
from evaluation.gate.rules.comparability import (
    another_model,
    champion_at_hand,
    enough_reviews,
    finite_figures,
    not_rolled_back,
    same_adaptation,
    same_family,
    same_reading,
    same_test_reviews,
    scored_now,
)
from evaluation.gate.rules.data import data_checks, drift, leak_certificate
from evaluation.gate.rules.forgetting import no_forgetting
from evaluation.gate.rules.memorisation import copied_span, exposure, novelty, private_patterns
from evaluation.gate.rules.quality import better_than_baseline, better_than_champion, not_below_floor, surely_better
from evaluation.gate.rules.serving import latency, size, smoke_test
from evaluation.gate.rules.slices import no_slice_worse

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
