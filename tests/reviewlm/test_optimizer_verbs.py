"""`reviewlm lr-find` and `reviewlm optimizers`: what is asked for, and what is refused before any work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from models.neural.optimizer_comparison import ALL, GRID
from reviewlm.cli import app
from reviewlm.errors import ConfigError
from reviewlm.presets import load_config
from reviewlm.verbs import optimizers

TINY = str(Path(__file__).parents[1] / "flows" / "tiny.toml")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the flow was asked for; it answers as the flow does."""
    seen: dict[str, Any] = {}

    def run_flow(
        name: str, preset: str, input: Any, overrides: list[str], check: Any, **arguments: Any
    ) -> dict[str, Any]:
        check(load_config(preset, overrides))
        seen.update(arguments, name=name, preset=preset, overrides=overrides)
        facts = {
            "model": "lstm",
            "suggestion": 0.02,
            "steepest": None,
            "setting": "models.1.training.learning_rate",
            "files": ["a/b.json"],
        }
        return {**facts, "best": [{"optimizer": "sgd"}], "train_tokens": 100, "epochs": 1.0, "mlflow_run_id": "run"}

    monkeypatch.setattr(optimizers, "run_flow", run_flow)
    return seen


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def refused(*arguments: str) -> ConfigError:
    done = invoke(*arguments)
    assert isinstance(done.exception, ConfigError), done.output
    return done.exception


def test_lr_find_passes_on_what_is_asked_and_says_how_to_take_the_suggestion(asked: dict[str, Any]) -> None:
    override = "source.synthetic.seed=2"
    done = invoke("lr-find", "--preset", "demo", "--model", "lstm", "--lowest", "1e-5", "--set", override, "--json")
    assert asked["name"] == "lr_find"
    assert (asked["model"], asked["lowest"], asked["highest"]) == ("lstm", 1e-5, None)
    assert asked["overrides"] == [override]
    assert "--set models.1.training.learning_rate=0.02" in done.stdout
    assert "The loss hardly fell" in done.stdout
    assert json.loads(done.stdout.splitlines()[-1])["suggestion"] == 0.02


def test_every_rule_is_compared_at_its_usual_rates_unless_others_are_named(asked: dict[str, Any]) -> None:
    model = ("--preset", TINY, "--model", "lstm")
    assert invoke("optimizers", *model).exit_code == 0
    assert asked["rates"] == {name: list(GRID[name]) for name in ALL}
    some = ("--rules", "sgd, adamw", "--rates", "0.1,0.3", "--size", "0", "--epochs", "2", "--track")
    invoke("optimizers", *model, *some)
    assert asked["rates"] == {"sgd": [0.1, 0.3], "adamw": [0.1, 0.3]}
    assert (asked["size"], asked["epochs"], asked["track"]) == (0, 2.0, True)
    invoke("optimizers", *model, "--rules", "gd", "--rates", "find")
    assert asked["rates"] == {"gd": None}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("optimizers", "--rules", "adamm"), "no such rule"),
        (("optimizers", "--rates", "fast"), "no rates"),
        (("optimizers", "--rates", "0.1,-1"), "no rates"),
        (("optimizers", "--epochs", "0"), "something to train on"),
        (("optimizers", "--out", TINY), "a file in the way"),
        (("lr-find", "--out", TINY), "a file in the way"),
        (("lr-find", "--preset", TINY, "--model", "lstm", "--lowest", "1", "--highest", "0.1"), "must rise"),
        (("lr-find", "--preset", TINY, "--model", "lstm", "--lowest", "2"), "2 to 1"),
        (("lr-find", "--preset", TINY, "--model", "lstm", "--lowest", "-1"), "--lowest 1e-05 --highest 1"),
        (("lr-find", "--preset", TINY), "several neural models"),
        (("optimizers", "--preset", TINY, "--model", "kn2"), "not trained by gradients"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_work(
    asked: dict[str, Any], arguments: tuple[str, ...], words: str
) -> None:
    assert words in str(refused(*arguments))
    assert asked == {}


def test_a_rule_that_is_nearly_one_is_named() -> None:
    assert "adam" in refused("optimizers", "--rules", "adamm").remedy


@pytest.mark.slow
def test_both_flows_run_from_a_configuration_alone(prefect_server: None, own_home: Path, tmp_path: Path) -> None:
    from flows.lr_find import lr_find
    from flows.optimizers import optimizers as compare

    found = lr_find(TINY, None, [], model="lstm", out=str(tmp_path / "rates"), lowest=1e-4, highest=10.0, updates=40)
    assert (tmp_path / "rates" / "lr_find.png").is_file()
    assert found["suggestion"] > 0
    stages = {path.name for path in (own_home / "store").iterdir() if not path.name.startswith(".")}
    assert not stages & {"fit", "lr-find", "optimizers"}
    compared = compare(TINY, None, [], {"adamw": [0.01], "gd": None}, "lstm", 8, 2_000, 1.0, str(tmp_path / "rules"))
    assert {trial["optimizer"] for trial in compared["trials"]} == {"adamw", "gd"}
    assert (tmp_path / "rules" / "optimizers.png").is_file()
