"""The order of the gate's tasks where another gate promotes in between: the new champion is scored, then decided."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

import flows.retrain
from tracking.registry.registry import ChampionChanged


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The calls of the tasks; the champion is version 1 when it is scored first, and version 2 from then on."""
    calls: list[Any] = []

    def stand_in(name: str, work: Any) -> None:
        def task(*given: Any) -> Any:
            calls.append(name)
            return work(*given)

        monkeypatch.setattr(flows.retrain, name, task)

    def decide(*given: Any) -> str:
        champion = given[5]
        if champion != 2:
            raise ChampionChanged("another version", value=f"version 2, expected {champion}")
        return f"decided against {champion}"

    stand_in("choose_challenger", lambda *given: SimpleNamespace(name="challenger"))
    stand_in("score_champion", lambda *given: min(2, calls.count("score_champion")))
    stand_in("register", lambda *given: 3)
    stand_in("score_challenger", lambda *given: "scores")
    stand_in("score_champion_reviews", lambda *given: "scores on its own")
    stand_in("decide", decide)
    monkeypatch.setattr(flows.retrain, "figures_beside", lambda *given: nullcontext())
    monkeypatch.setattr(flows.retrain, "model_processes", lambda *given: nullcontext())
    return calls


def test_the_challenger_is_chosen_once_and_judged_again_by_the_champion_of_now(asked: list[Any]) -> None:
    config, prepared, evaluated = (SimpleNamespace(models=[]) for _ in range(3))
    promotion: Any = flows.retrain.promote.fn(config, prepared, evaluated, "run")  # type: ignore[arg-type]
    assert promotion == "decided against 2"
    judged = ["score_champion", "register", "score_challenger", "score_champion_reviews", "decide"]
    assert asked == ["choose_challenger", *judged, *judged]


def test_what_was_registered_is_settled_although_an_equal_bundle_became_champion_meanwhile(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`register` registers nothing where the champion is the same bundle; the version of before awaits a decision."""
    settled: list[tuple[int, int | None]] = []

    def decide(*given: Any) -> str:
        champion, version = given[5], given[6]
        if champion != 2:
            raise ChampionChanged("another version", value=f"version 2, expected {champion}")
        settled.append((champion, version))
        return "refused"

    monkeypatch.setattr(flows.retrain, "register", lambda *given: None if given[3] == 2 else 3)
    monkeypatch.setattr(flows.retrain, "score_challenger", lambda *given: f"scores of {given[3]}")
    monkeypatch.setattr(flows.retrain, "decide", decide)
    config, prepared, evaluated = (SimpleNamespace(models=[]) for _ in range(3))
    promotion: Any = flows.retrain.promote.fn(config, prepared, evaluated, "run")  # type: ignore[arg-type]
    assert promotion == "refused"
    assert settled == [(2, 3)]


def test_a_classifier_that_was_registered_is_settled_although_an_equal_one_became_champion_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from flows import classify

    rounds: list[int] = []
    settled: list[tuple[int, int | None]] = []

    def champion(*given: Any) -> int:
        rounds.append(len(rounds) + 1)
        return rounds[-1]

    def settle(*given: Any) -> str:
        if given[3] != 2:
            raise ChampionChanged("another version", value=f"version 2, expected {given[3]}")
        settled.append((given[3], given[4]))
        return "refused"

    monkeypatch.setattr(classify, "choose", lambda compared: "challenger")
    monkeypatch.setattr(classify, "answer_champion", champion)
    monkeypatch.setattr(classify, "register_classifier", lambda *given: None if given[3] == 2 else 3)
    monkeypatch.setattr(classify, "judge_classifier", lambda *given: "decision")
    monkeypatch.setattr(classify, "settle_classifier", settle)
    config: Any = SimpleNamespace(classification=SimpleNamespace(model_name="any"), asking=lambda name: config)
    prepared: Any = SimpleNamespace()
    promotion: Any = classify._promoted(config, prepared, prepared, "run")
    assert (promotion, settled) == ("refused", [(2, 3)])
