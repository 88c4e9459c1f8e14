"""The order of an evaluation's works, and what is done where one of them fails."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from core.config.presets import load_config
from flows import parts
from models.specs import CacheSpec, MixtureSpec, NGramSpec, RecurrentSpec

SPECS = (
    NGramSpec(name="kn"),
    RecurrentSpec(name="rnn"),
    MixtureSpec(name="mix", parts=("kn", "lstm")),
    RecurrentSpec(name="lstm"),
    CacheSpec(name="cached", part="rnn"),
)
SECONDS = {"kn": 1.0, "rnn": 3.0, "mix": 5.0, "lstm": 4.0, "cached": 6.0}


class Works:
    """Stands in for all stages of the flow: notes what is asked for, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failing: str = "") -> None:
        self.asked: list[str] = []
        self.failing = failing
        for name in ("observe", "audit", "write_samples"):
            monkeypatch.setattr(parts, name, SimpleNamespace(submit=self._submitting(name)))
        monkeypatch.setattr(parts, "score", self._score)
        monkeypatch.setattr(parts, "measure", lambda config, model, scores, *works: (model.spec.name, works))
        monkeypatch.setattr(parts, "compare_models", lambda config, prepared, measured, run: measured)

    def _score(self, config: Any, model: Any, prepared: Any) -> tuple[Any, Any]:
        self.asked.append(f"score {model.spec.name}")
        scores = SimpleNamespace(artifact=SimpleNamespace(facts={"score_seconds": SECONDS[model.spec.name]}))
        return scores, scores

    def _submitting(self, stage: str) -> Any:
        def submit(config: Any, model: Any, *more: Any) -> Any:
            work = f"{stage} {model.spec.name}"
            self.asked.append(work)
            return SimpleNamespace(result=lambda: self._result(work))

        return submit

    def _result(self, work: str) -> str:
        if work == self.failing:
            raise ValueError(work)
        self.asked.append(f"done {work}")
        return work


def measured() -> Any:
    fitted: Any = [SimpleNamespace(spec=spec) for spec in SPECS]
    prepared: Any = None
    return parts.measure_models.fn(load_config("demo"), prepared, fitted, "run")


@pytest.mark.parametrize("failing", ["observe mix", "audit lstm", "write_samples kn"])
def test_a_work_that_fails_keeps_no_other_model_from_being_measured(
    monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    Works(monkeypatch, failing)
    logged: list[str] = []
    monkeypatch.setattr(parts, "measure", lambda config, model, *more: logged.append(model.spec.name))
    with pytest.raises(ValueError, match=failing):
        measured()
    assert sorted([*logged, failing.split()[1]]) == sorted(SECONDS)
