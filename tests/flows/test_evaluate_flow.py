"""Which models an evaluation measures first, and which although another one fails."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.flows import parts
from reviewlm.models.specs import CacheSpec, MixtureSpec, NGramSpec, RecurrentSpec

SPECS = (
    NGramSpec(name="kn"),
    RecurrentSpec(kind="rnn", name="rnn"),
    MixtureSpec(name="mix", parts=("kn", "lstm")),
    RecurrentSpec(name="lstm"),
    CacheSpec(name="cached", part="rnn"),
)
ORDER = ["mix", "lstm", "cached", "rnn", "kn"]


def measured(monkeypatch: pytest.MonkeyPatch, failing: str = "") -> tuple[list[str], Any]:
    """Measure the models in place of the flow; return the order in which they began, and what came out."""
    begun: list[str] = []

    def submit(
        config: Any,
        model: Any,
        prepared: Any,
    ) -> Any:
        name = model.spec.name
        begun.append(name)

        def result() -> str:
            if name == failing:
                raise ValueError(name)
            return name

        return SimpleNamespace(result=result)

    monkeypatch.setattr(parts, "measure", SimpleNamespace(submit=submit))
    monkeypatch.setattr(parts, "compare_models", lambda config, prepared, models, run: models)
    fitted: Any = [SimpleNamespace(spec=spec) for spec in SPECS]
    prepared: Any = None
    result = None
    if failing:
        with pytest.raises(ValueError, match=failing):
            parts.measure_models.fn(load_config("demo"), prepared, fitted, "run")
    else:
        result = parts.measure_models.fn(load_config("demo"), prepared, fitted, "run")
    return begun, result


@pytest.mark.parametrize("failing", ["mix", "lstm", "kn"])
def test_a_model_that_fails_keeps_no_other_model_from_being_measured(
    monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    begun, _ = measured(monkeypatch, failing)
    assert begun == ORDER


def test_the_slowest_models_are_measured_first_but_compared_in_the_order_of_the_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, compared = measured(monkeypatch)
    assert begun == ORDER
    assert compared == [spec.name for spec in SPECS]
