"""What is done where a work of an evaluation fails."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.flows import parts
from reviewlm.models.specs import CacheSpec, MixtureSpec, NGramSpec, RecurrentSpec

SPECS = (
    NGramSpec(name="kn"),
    RecurrentSpec(name="rnn"),
    MixtureSpec(name="mix", parts=("kn", "lstm")),
    RecurrentSpec(name="lstm"),
    CacheSpec(name="cached", part="rnn"),
)
SECONDS = {"kn": 1.0, "rnn": 3.0, "mix": 5.0, "lstm": 4.0, "cached": 6.0}


def stand_in(monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    """Replace all stages of the flow; the work that is named fails."""

    def submitting(stage: str) -> Any:
        def submit(workspace: Any, settings: Any, model: Any, *more: Any) -> Any:
            def result() -> str:
                if (work := f"{stage} {model.spec.name}") == failing:
                    raise ValueError(work)
                return work

            return SimpleNamespace(result=result)

        return SimpleNamespace(submit=submit)

    def score(workspace: Any, settings: Any, model: Any, prepared: Any) -> Any:
        return [
            SimpleNamespace(
                artifact=SimpleNamespace(facts={"score_seconds": SECONDS[model.spec.name]})
            )
        ]

    for name in ("observe", "audit", "write_samples"):
        monkeypatch.setattr(parts, name, submitting(name))
    monkeypatch.setattr(parts, "score", score)


def measured() -> Any:
    fitted: Any = [SimpleNamespace(spec=spec) for spec in SPECS]
    prepared: Any = None
    return parts.measure_models.fn(load_config("demo"), prepared, fitted, "run")


@pytest.mark.parametrize("failing", ["observe mix", "audit lstm", "write_samples kn"])
def test_a_work_that_fails_keeps_no_other_model_from_being_measured(
    monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    stand_in(monkeypatch, failing)
    logged: list[str] = []
    monkeypatch.setattr(
        parts, "measure", lambda config, model, *more: logged.append(model.spec.name)
    )
    with pytest.raises(ValueError, match=failing):
        measured()
    assert sorted([*logged, failing.split()[1]]) == sorted(SECONDS)
