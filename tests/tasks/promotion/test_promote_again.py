"""The order of the gate's tasks where another gate promotes in between: the new champion is scored, then decided."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from reviewlm.tasks.promotion import promote
from reviewlm.tracking.registry.registry import ChampionChanged

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

    def decide(*given: Any) -> str:
        champion, version = given[2:4]
        if champion != 2:
            raise ChampionChanged("another version", value=f"version 2, expected {champion}")
        return f"version {version} against {champion}"

    stand_in("score_champion", lambda *given: min(2, calls.count("score_champion")))
    stand_in("register", lambda *given: 3)
    stand_in("score_challenger", lambda *given: "scores")
    stand_in("score_champion_reviews", lambda *given: "scores on its own")
    stand_in("decide", decide)
    return calls


def test_the_challenger_is_judged_again_by_the_champion_of_now(calls: list[str]) -> None:
    promotion: Any = promote.promote_challenger(NOTHING, "run")
    assert promotion == "version 3 against 2"
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
    assert promotion == "version 3 against 2"
