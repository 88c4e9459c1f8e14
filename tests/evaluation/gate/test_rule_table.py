"""A rule of the gate is declared once: its evidence, its setting and its row in the pages exist, its unit is shown."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from reviewlm.core.config.sections.evaluation import PromotionConfig
from reviewlm.core.config.sections.other_models import ClassificationPromotion
from reviewlm.evaluation.gate.evidence import Evidence
from reviewlm.evaluation.gate.rule_table import RULES, SINGULAR, GateRule, show_figure
from tests.evaluation.challengers import judge

DOCS = Path(__file__).parents[3] / "docs" / "concepts"
PAGES = (DOCS / "registry" / "promotion.md", DOCS / "evaluation" / "classification.md")


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_what_a_rule_names_exists(rule: GateRule) -> None:
    assert set(rule.needs) <= {field.name for field in fields(Evidence)}
    settings = {*PromotionConfig.model_fields, *ClassificationPromotion.model_fields}
    assert not rule.limit or rule.limit in settings


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_every_rule_has_a_row_with_its_setting_in_a_page(rule: GateRule) -> None:
    rows = [
        line
        for page in PAGES
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith(f"| {rule.name} |")
    ]
    assert rows
    assert any(f"`{rule.limit}`" in row for row in rows) or not rule.limit or "the same" in rows[0]


def test_every_outcome_is_of_a_declared_rule() -> None:
    assert {rule.name for rule in judge().rules} <= RULES.keys()


def test_every_outcome_shows_its_unit() -> None:
    for rule in judge().rules:
        value = rule.row()[2]
        unit = RULES[rule.name].unit
        expected = SINGULAR.get(unit, unit) if rule.value == 1 else unit
        assert rule.value is None or value.endswith(expected)


def test_one_canary_is_not_called_canaries() -> None:
    assert show_figure(1.0, "canaries") == "1 canary"
    assert show_figure(2.0, "canaries") == "2 canaries"


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_a_refusal_has_a_reason_that_fits_a_column(rule: GateRule) -> None:
    assert 0 < len(rule.refusal) <= 20
