"""What is written to MLflow once the gate for word vectors has decided, and to which runs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from core.config.presets import load_config
from evaluation.gate.decision import Decision
from tasks.embedding import promote as module
from tasks.embedding.promote import settle_vectors
from tracking.registry.registry import ChampionChanged

DECISION = Decision(False, "no gain", (), "ranked", "a", None, "t", {"challenger, ranked": 0.75, "test windows": 9.0})
FIGURES = {"test/ranked": 0.75, "test/windows": 9.0}


class Tracking:
    """Runs with metrics; carrying out a decision is noted, or the champion has changed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, changed: bool = False, **runs: dict[str, float]) -> None:
        self.runs, self.changed, self.carried_out = runs, changed, 0
        monkeypatch.setattr(module, "tracker_of", lambda config: self)
        monkeypatch.setattr(module, "carry_out", self.carry_out)

    def carry_out(self, *given: Any) -> str:
        if self.changed:
            raise ChampionChanged("the champion has changed")
        assert not self.runs["flow"], "figures are written after the decision"
        self.carried_out += 1
        return "promotion"

    def metrics(self, run: str) -> dict[str, float]:
        return self.runs[run]

    def log_metrics(self, run: str, metrics: dict[str, float]) -> None:
        self.runs[run] = self.runs[run] | metrics

    def settle(self, reused: bool) -> Any:
        fitted: Any = SimpleNamespace(run_id="fit", reused=reused)
        prepared: Any = SimpleNamespace(clean=None)
        return settle_vectors.fn(load_config("small"), prepared, fitted, None, 3, DECISION, "flow")


@pytest.mark.parametrize(("reused", "before", "after"), [
    (False, {}, FIGURES), (True, {}, FIGURES), (True, {"fit/words": 5.0}, {"fit/words": 5.0, **FIGURES}),
    (True, {"test/ranked_by_cosine": 0.6}, {"test/ranked_by_cosine": 0.6, **FIGURES}),
    (True, {"test/ranked": 0.7}, {"test/ranked": 0.7}),
])  # fmt: skip
def test_the_run_of_a_fit_gets_figures_that_it_lacks(
    reused: bool, before: dict[str, float], after: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking = Tracking(monkeypatch, flow={}, fit=before)
    assert tracking.settle(reused) == "promotion"
    assert tracking.runs == {"flow": FIGURES, "fit": after}


def test_figures_of_a_decision_that_is_made_again_are_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    tracking = Tracking(monkeypatch, changed=True, flow={}, fit={})
    with pytest.raises(ChampionChanged):
        tracking.settle(False)
    assert tracking.runs == {"flow": {}, "fit": {}}
