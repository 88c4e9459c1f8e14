"""`run --minutes` takes the preset `minutes` unless another is named, and shows what became of its plan."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from reviewlm import shown_results
from reviewlm.cli import app
from reviewlm.core.config.presets import load_config
from reviewlm.core.errors import ConfigError
from reviewlm.verbs import pipeline


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Calls of `run_flow`, which runs nothing."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def run_flow(*given: Any, **named: Any) -> dict[str, Any]:
        calls.append((given, named))
        return {}

    monkeypatch.setattr(pipeline.flow_runs, "run_flow", run_flow)
    monkeypatch.setattr(shown_results, "show_run", lambda result: None)
    return calls


def test_without_minutes_nothing_changes(asked: list[Any]) -> None:
    assert CliRunner().invoke(app, ["run"]).exit_code == 0
    assert asked == [(("retrain", "small", None, []), {"until": None})]


@pytest.mark.parametrize(("named", "preset"), [([], "minutes"), (["--preset", "small"], "small")])
def test_the_preset_of_minutes_is_taken_unless_another_is_named(
    asked: list[Any],
    named: list[str],
    preset: str,
) -> None:
    assert CliRunner().invoke(app, ["run", "--minutes", "7", *named]).exit_code == 0
    [((flow, taken, _, _, check), others)] = asked
    assert (flow, taken, others) == ("retrain", preset, {"minutes": 7.0})
    if named:
        with pytest.raises(ConfigError, match="cannot use this preset"):
            check(load_config(taken))
    else:
        check(load_config(taken))


def test_less_than_a_minute_is_refused(asked: list[Any]) -> None:
    assert CliRunner().invoke(app, ["run", "--minutes", "0.5"]).exit_code == 2
    assert asked == []
