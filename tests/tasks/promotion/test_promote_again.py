"""The order of the gate's tasks where another gate promotes in between: the new champion is scored, then decided."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from reviewlm.evaluation.gate.rule_table import NOT_WORSE_THAN_BASELINE
from reviewlm.tasks.promotion import promote
from reviewlm.tracking.registry.logged_decisions import ChampionChanged

NOTHING: Any = SimpleNamespace()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls of the tasks; the champion is version 1 when it is scored first, and version 2 from then on."""
    calls: list[str] = []

    def stand_in(name: str, work: Any) -> None:
        def task(*given: Any) -> Any:
            calls.append(name)
            return work(*given)

        monkeypatch.setattr(promote, name, task)

    def decide(*given: Any) -> Any:
        champion, version = given[2:4]
        if champion != 2:
            raise ChampionChanged("another version", value=f"version 2, expected {champion}")
        decision = SimpleNamespace(
            rules=(),
            champion="",
            reason="",
        )
        return SimpleNamespace(
            decision=decision,
            version=version,
            against=champion,
        )

    stand_in("score_champion", lambda *given: min(2, calls.count("score_champion")))
    stand_in("register", lambda *given: 3)
    stand_in("score_challenger", lambda *given: "scores")
    stand_in("score_champion_reviews", lambda *given: "scores on its own")
    stand_in("decide", decide)
    return calls


def test_the_challenger_is_judged_again_by_the_champion_of_now(calls: list[str]) -> None:
    promotion: Any = promote.promote_challenger(NOTHING, "run")
    assert (promotion.version, promotion.against) == (3, 2)
    assert (
        calls
        == ["score_champion", "register", "score_challenger", "score_champion_reviews", "decide"]
        * 2
    )


def test_what_was_registered_is_settled_although_an_equal_bundle_became_champion_meanwhile(
    calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`register` registers nothing where the champion is the same bundle; the version of before awaits a decision."""
    monkeypatch.setattr(promote, "register", lambda *given: None if given[1] == 2 else 3)
    promotion: Any = promote.promote_challenger(NOTHING, "run")
    assert (promotion.version, promotion.against) == (3, 2)


class Family:
    """A run with a challenger and a baseline, of which one is better on the test reviews."""

    def __init__(self, challenger: str = "lstm", refused: dict[str, str] | None = None) -> None:
        self.challenger = SimpleNamespace(name=challenger)
        self.refused = refused or {}
        self.reason = ""

    def baseline_model(self) -> Any:
        return SimpleNamespace(name="kn5")

    def baseline(self) -> Any:
        return SimpleNamespace(digest="kn5's")

    def ruled_out(self, model: Any) -> str:
        return self.reason

    def instead(self, model: Any, why: str) -> Family:
        return Family(model.name, {self.challenger.name: why})


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[Family]:
    """The families that were judged; the LSTM's gain over the baseline is at most −2 %."""
    tried: list[Family] = []

    def judge(family: Any, run: str) -> Any:
        tried.append(family)
        value = -0.02 if family.challenger.name == "lstm" else None
        rule = SimpleNamespace(
            name=NOT_WORSE_THAN_BASELINE.name,
            passed=value is None,
            value=value,
        )
        decision = SimpleNamespace(
            rules=(rule,),
            champion="old",
            reason="worse",
        )
        return SimpleNamespace(decision=decision, version=len(tried))

    monkeypatch.setattr(promote, "promote_model", judge)
    return tried


def test_a_baseline_that_is_surely_better_than_the_challenger_is_tried_itself(
    tried: list[Family],
) -> None:
    promotion = promote.promote_challenger(Family(), "run")  # type: ignore[arg-type]
    assert promotion.version == 2
    assert [family.challenger.name for family in tried] == ["lstm", "kn5"]
    assert tried[1].refused == {"lstm": "refused as version 1: worse"}


def test_a_baseline_that_must_be_refused_is_not_tried(tried: list[Family]) -> None:
    family: Any = Family()
    family.reason = "its bundle has 900 MB"
    assert promote.promote_challenger(family, "run").version == 1


def test_a_baseline_that_is_the_champion_is_not_tried(
    tried: list[Family], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Family, "baseline", lambda self: SimpleNamespace(digest="old"))
    assert promote.promote_challenger(Family(), "run").version == 1  # type: ignore[arg-type]
