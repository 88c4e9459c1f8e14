"""The demo has a registered model of its own; what is trained on a user's files never gets its name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from core.config.command_line import command_line
from core.config.presets import load_config, preset_names
from core.config.run_config import RunConfig
from core.config.sections.promotion import DEMO_MODEL, OWN_MODEL
from core.errors import ConfigError, TrackingUnavailable
from flows.retrain import resolve
from reviewlm.shown.results import show_next_steps
from reviewlm.verbs import model
from tracking.logged_models import opening

DEMOS = {"ablation", "characters", "classify_demo", "demo"}


@pytest.mark.parametrize("preset", preset_names())
def test_only_the_presets_of_the_embedded_corpus_register_as_the_demo(preset: str) -> None:
    assert load_config(preset).promotion.model_name == (DEMO_MODEL if preset in DEMOS else OWN_MODEL)


def test_files_of_a_user_in_a_preset_of_the_demo_make_a_model_of_the_user() -> None:
    assert resolve("characters", ["mine.csv"], None).promotion.model_name == OWN_MODEL
    by_setting = load_config("demo", ['source.input=["mine.csv"]'])
    assert by_setting.promotion.model_name == OWN_MODEL
    named = resolve("demo", ["mine.csv"], ["promotion.model_name=mine"])
    assert named.promotion.model_name == "mine"
    assert resolve("demo", None, None).promotion.model_name == DEMO_MODEL


@pytest.mark.parametrize("preset", preset_names())
def test_no_preset_registers_what_it_learns_from_the_embedded_corpus_as_a_model_of_the_user(preset: str) -> None:
    config = resolve(preset, None, None)
    names = config.promotion.model_name, config.classification.model_name, config.embedding.model_name
    assert names == (DEMO_MODEL, f"{DEMO_MODEL}-{config.classification.label}", f"{DEMO_MODEL}-vectors")


def test_an_own_name_for_a_model_of_the_embedded_corpus_stays() -> None:
    named = resolve("small", None, ["promotion.model_name=mine", "embedding.model_name=words"])
    assert (named.promotion.model_name, named.embedding.model_name) == ("mine", "words")


def test_a_schedule_without_input_is_refused_before_it_works_if_there_is_no_champion_whose_files_it_could_read(
    migrated_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.retrain.deployment", SimpleNamespace(id="weekly"))
    with pytest.raises(ConfigError, match=r"(?s)no input was given.*or use the preset demo"):
        resolve("small", None, None)
    assert resolve("demo", None, None).promotion.model_name == DEMO_MODEL
    assert resolve("small", ["mine.csv"], None).promotion.model_name == OWN_MODEL


def test_the_demo_names_its_classifier_after_the_label() -> None:
    named = {label: load_config("classify_demo", [f"classification.label={label}"]) for label in ("stars", "polarity")}
    assert {label: config.classification.model_name for label, config in named.items()} == {
        "stars": "reviewlm-demo-stars",
        "polarity": "reviewlm-demo-polarity",
    }
    assert named["polarity"].with_input(["mine.csv"]).classification.model_name == "reviewlm-polarity"
    mine = load_config("classify_demo", ["classification.promotion.model_name=mine", 'source.input=["mine.csv"]'])
    assert mine.classification.model_name == "mine"


@pytest.mark.parametrize("preset", preset_names())
def test_only_the_presets_of_the_embedded_corpus_register_their_vectors_as_the_demos(preset: str) -> None:
    config = load_config(preset)
    assert config.embedding.model_name == ("reviewlm-demo-vectors" if preset in DEMOS else "reviewlm-vectors")
    assert config.with_input(["mine.csv"]).embedding.model_name == "reviewlm-vectors"
    assert load_config(preset, ['source.input=["mine.csv"]']).embedding.model_name == "reviewlm-vectors"
    mine = load_config(preset, ["embedding.model_name=mine"]).with_input(["mine.csv"])
    assert mine.embedding.model_name == "mine"


@pytest.mark.parametrize("name", [OWN_MODEL, DEMO_MODEL])
def test_vectors_never_get_the_name_of_a_language_model(name: str) -> None:
    assert load_config("small", [f"embedding.model_name={name}"]).embedding.model_name == f"{name}-vectors"


@pytest.mark.parametrize(("name", "command"), [
    ("reviewlm", "run"), ("reviewlm-vectors", "embed"), ("reviewlm-stars", "classify fit"),
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
    import flows.partial

    config = load_config("demo").with_input(input).asking(DEMO_MODEL)
    asked: list[RunConfig] = []

    def run(config: RunConfig) -> SimpleNamespace:
        asked.append(config)
        return SimpleNamespace(to_dict=dict)

    monkeypatch.setattr(flows.partial, "settings_of", lambda *given: SimpleNamespace(config=config, version=object()))
    monkeypatch.setattr(flows.partial, "run_pipeline", run)
    flows.partial.promote_only.fn("", input)
    assert asked[0].promotion.model_name == name
