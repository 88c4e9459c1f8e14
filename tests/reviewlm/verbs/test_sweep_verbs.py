"""What the verbs `sweep` and `scaling` hand to their flows, and what they show."""

from __future__ import annotations

import json
from typing import Any

import pytest

import reviewlm.flow_runs
from reviewlm import cli
from reviewlm.core.config.presets import load_config

TRIALS = [
    {
        "trial": 0,
        "state": "complete",
        "perplexity": 80.0,
        "reached": 79.0,
        "tokens": 5,
        "seconds": 1.0,
        "hidden": 8,
        "reason": "",
        "mlflow_run_id": "a",
    },
    {
        "trial": 1,
        "state": "failed",
        "perplexity": None,
        "reached": None,
        "tokens": None,
        "seconds": None,
        "hidden": 9,
        "reason": "Diverged: loss nan",
        "mlflow_run_id": "b",
    },
]
WINNER = {
    "trial": 0,
    "search_perplexity": 80.0,
    "perplexity": 82.0,
    "low": 78.5,
    "high": 85.5,
    "confidence": 0.95,
    "seeds": 2,
    "seeds_failed": 1,
}
SWEPT = {
    "model": "lstm",
    "trials": TRIALS,
    "importances": {"hidden": 1.0},
    "winner": WINNER,
    "toml": "hidden = 8",
    "overrides": ["models.1.hidden=8"],
    "mlflow_run_id": "r",
}


def call(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    result: dict[str, Any],
    *arguments: str,
) -> tuple[tuple[Any, ...], str]:
    """Run a verb with its flow replaced; return what the flow was given, and standard output."""
    given: list[tuple[Any, ...]] = []

    def run_flow(*about: Any) -> dict[str, Any]:
        given.append(about)
        return result

    monkeypatch.setattr(reviewlm.flow_runs, "run_flow", run_flow)
    monkeypatch.setattr("sys.argv", ["reviewlm", *arguments])
    cli.main()
    shown = capfd.readouterr()
    return given[0], shown.err + shown.out  # with --json the text for people is on standard error


def test_options_of_the_sweep_become_overrides_that_the_configuration_understands(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    given, shown = call(
        monkeypatch,
        capfd,
        SWEPT,
        "models",
        "sweep",
        "--preset",
        "demo",
        "--model",
        "lstm",
        "--trials",
        "9",
        "--space",
        "hidden=128..512:log training.optimizer=adamw|sgd",
        "--set",
        "sweep.space.layers=1|2",
        "--json",
    )
    assert given[:3] == ("sweep", "demo", None)
    options = load_config("demo", given[3]).sweep
    assert (options.model, options.trials, options.seeds) == ("lstm", 9, 3)
    assert options.space == {
        "hidden": "128..512:log",
        "training": {"optimizer": "adamw|sgd"},
    }  # in place of others
    assert "Trial 1 failed: Diverged: loss nan" in shown
    assert "perplexity 82 [78.5, 85.5] (95%), 2 fresh seeds, 1 more failed" in shown
    assert '[models."lstm"]\nhidden = 8\n' in shown
    assert "--set models.1.hidden=8" in shown
    assert json.loads(shown.splitlines()[-1]) == SWEPT


@pytest.mark.parametrize("space", ["hidden", "=1..2"])
def test_a_space_of_another_form_is_an_error_of_the_configuration(
    monkeypatch: pytest.MonkeyPatch, space: str
) -> None:
    monkeypatch.setattr("sys.argv", ["reviewlm", "models", "sweep", "--space", space])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
