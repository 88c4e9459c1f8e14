"""The demo has a registered model of its own; what is trained on a user's files never gets its name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from core.config.presets import command_line, load_config
from core.config.run_config import RunConfig
from core.config.sections.promotion import DEMO_MODEL, OWN_MODEL
from core.errors import TrackingUnavailable
from flows.retrain import resolve
from reviewlm.shown_results import show_next_steps
from reviewlm.verbs import model
from tracking.registry import opening

DEMOS = {"ablation", "characters", "classify_demo", "demo"}


@pytest.mark.parametrize(("name", "command"), [
    ("reviewlm", "run"), ("reviewlm-stars", "classify fit"),
])  # fmt: skip
def test_the_warning_of_the_demos_model_names_the_command_that_makes_ones_own(
    name: str, command: str, caplog: pytest.LogCaptureFixture
) -> None:
    opening._warn_of_demo(f"sqlite:///{command}", name, f"{name}-of-the-demo")
    assert f"`reviewlm {command} --input FILES` makes yours" in caplog.text


def test_the_command_line_of_such_a_run_gives_it_again() -> None:
    config = resolve("characters", ["mine.csv"], None)
    assert command_line(config) == "reviewlm run --preset characters --input mine.csv"


def test_the_next_steps_name_the_model_that_was_made(capsys: pytest.CaptureFixture[str]) -> None:
    show_next_steps(DEMO_MODEL, 3)
    shown = capsys.readouterr().out
    assert "models:/reviewlm-demo@champion is version 3" in shown
    assert ".venv/bin/reviewlm generate --model reviewlm-demo --stars 2 " in shown


def test_a_score_stands_beside_that_of_the_test_reviews_if_their_run_can_be_read(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = {"known": {"test/open_bits_per_byte": 0.4833}, "other": {}}

    def metrics(run_id: str) -> dict[str, float]:
        if run_id not in runs:
            raise TrackingUnavailable("The run is gone")
        return runs[run_id]

    monkeypatch.setattr(opening, "tracker_at", lambda config: SimpleNamespace(metrics=metrics))
    for run_id in ("known", "other", "deleted"):
        model._say_test_figure(load_config("demo"), SimpleNamespace(run_id=run_id))  # type: ignore[arg-type]
    assert capsys.readouterr().out == (
        "To compare: the test reviews of this model need 0.483 open_bits_per_byte on average.\n"
    )


@pytest.mark.parametrize(("input", "name"), [(["mine.csv"], OWN_MODEL), ([], DEMO_MODEL)])
def test_the_gate_registers_a_model_of_ones_own_files_as_ones_own_although_the_demo_alone_is_champion(
    input: list[str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings are taken from the version that answers as champion, and so was its name."""
    import flows.retrain

    config = load_config("demo").with_input(input).asking(DEMO_MODEL)
    asked: list[RunConfig] = []

    def run(config: RunConfig) -> dict[str, Any]:
        asked.append(config)
        return {}

    monkeypatch.setattr(flows.retrain, "settings_of", lambda *given: SimpleNamespace(config=config, version=object()))
    monkeypatch.setattr(flows.retrain, "run_pipeline", run)
    flows.retrain.promote_only.fn("", input)
    assert asked[0].promotion.model_name == name
