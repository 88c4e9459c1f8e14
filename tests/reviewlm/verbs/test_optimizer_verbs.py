"""`reviewlm lr-find` and `reviewlm optimizers`: what is asked for, and what is refused before any work."""

from __future__ import annotations

import json
import signal
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from core.config.presets import load_config
from core.errors import ConfigError, NotWritable
from core.processes import interrupts
from models.neural.optimization.comparison import ALL, GRID
from reviewlm import options
from reviewlm.cli import app
from reviewlm.verbs import optimizers
from tasks.stage import recorded_stages

TINY = str(Path(__file__).parents[2] / "flows" / "tiny.toml")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What the flow was asked for, in an empty working directory; it answers as the flow does."""
    monkeypatch.chdir(tmp_path)
    seen: dict[str, Any] = {}

    def run_flow(
        name: str, preset: str, input: Any, overrides: list[str], check: Any, kept: str, **arguments: Any
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
        trials = [{"optimizer": "sgd", "rate": 1.0, "failure": ""}]
        trials.append({"optimizer": "gd", "rate": None, "failure": "flat"})
        compared = {"best": [{"optimizer": "sgd"}], "trials": trials, "train_tokens": 100, "epochs": 1.0}
        return {**facts, **compared, **({"mlflow_run_id": "run"} if arguments["track"] else {})}

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
    done = invoke("optimizers", *model, "--rules", "gd", "--rates", "find")
    assert asked["rates"] == {"gd": None}
    assert "gd failed: flat" in done.stdout


def test_each_model_has_a_folder_of_its_own_unless_one_is_named_and_it_is_there_before_any_work(
    asked: dict[str, Any], tmp_path: Path
) -> None:
    for verb in ("lr-find", "optimizers"):
        invoke(verb, "--preset", TINY, "--model", "lstm")
        assert asked["out"] == ""
        assert (tmp_path / verb / "lstm").is_dir()
        invoke(verb, "--preset", TINY, "--model", "lstm", "--out", "mine")
        assert asked["out"] == "mine"
    assert (tmp_path / "mine").is_dir()


def test_a_folder_that_takes_no_file_is_refused_before_any_work(asked: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    done = invoke("optimizers", "--preset", TINY, "--model", "lstm", "--out", str(tmp_path / "link"))
    assert isinstance(done.exception, NotWritable), done.output
    assert asked == {}


def test_both_write_a_run_where_that_is_asked_for(asked: dict[str, Any]) -> None:
    for verb in ("lr-find", "optimizers"):
        assert "MLflow run" not in invoke(verb, "--preset", TINY, "--model", "lstm").stdout
        assert "MLflow run: run" in invoke(verb, "--preset", TINY, "--model", "lstm", "--track").stdout


@pytest.mark.parametrize(
    ("verb", "option", "instead"),
    [
        ("optimizers", "training.weight_decay=0.3", "every trial has 0.0"),
        ("optimizers", "training.evaluations=3", "every trial has 12"),
        ("optimizers", "training.epochs=9", "--epochs 3"),
        ("optimizers", "training.start=champion", "every trial has fresh"),
        ("optimizers", "hidden=512", "--size 64"),
        ("optimizers", "training.batch=3", "gd has its own"),
        ("optimizers", "training.schedule=linear", "nt_asgd has its own"),
        ("lr-find", "training.start=champion", "a range test has none"),
        ("lr-find", "training.state_reset_prob=0.5", "a range test has none"),
    ],
)
def test_an_override_that_has_no_part_is_told(
    asked: dict[str, Any], caplog: pytest.LogCaptureFixture, verb: str, option: str, instead: str
) -> None:
    (place,) = (at for at, spec in enumerate(load_config(TINY).models) if spec.name == "lstm")
    for called in (place, "lstm"):
        caplog.clear()
        invoke(verb, "--preset", TINY, "--model", "lstm", "--set", f"models.{called}.{option}")
    [told] = [record.message for record in caplog.records if "has no effect here" in record.message]
    assert option in told
    assert told.endswith(instead)


def test_an_override_that_has_a_part_or_is_of_another_model_is_not_told(
    asked: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    (place,) = (at for at, spec in enumerate(load_config(TINY).models) if spec.name == "lstm")
    with_part = (f"models.{place}.training.ema=0.9", f"models.{place}.training.weight_decay=0", "seed=3")
    for override in with_part:
        model = ("--preset", TINY, "--model", "lstm", "--rules", "adamw")
        assert invoke("optimizers", *model, "--set", override).exit_code == 0
    assert not [record for record in caplog.records if "no effect" in record.message]


def test_who_interrupts_is_told_what_is_kept(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def flow(*arguments: Any, **named: Any) -> Any:
        told.append(interrupts._line(signal.SIGINT, ["fit lstm"], ""))
        return {}

    flows = SimpleNamespace(
        lr_find=flow, sweep=flow, private_server=lambda: nullcontext(lambda: None), end_left_runs=lambda: None,
        database_file=lambda uri: None, ended_with_process=nullcontext, recorded_stages=recorded_stages,
    )  # fmt: skip
    monkeypatch.setattr(options, "import_module", lambda name: flows)
    options.run_flow("sweep", TINY, None, [])
    options.run_flow("lr_find", TINY, None, [], kept="nothing is kept")
    assert told == [
        "Interrupted during fit lstm; run the same command to resume", "Interrupted during fit lstm; nothing is kept",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("optimizers", "--rules", "adamm"), "nknown optimiser"),
        (("optimizers", "--rates", "fast"), "not valid rates"),
        (("optimizers", "--rates", "0.1,-1"), "not valid rates"),
        (("optimizers", "--epochs", "0"), "above 0 and finite"),
        (("optimizers", "--epochs", "inf"), "above 0 and finite"),
        (("optimizers", "--preset", TINY, "--model", "lstm", "--out", TINY), "a file has its name"),
        (("optimizers", "--preset", TINY, "--model", "lstm", "--out", f"{TINY}/below"), "a file has its name"),
        (("lr-find", "--preset", TINY, "--model", "lstm", "--out", TINY), "a file has its name"),
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


@pytest.mark.long
def test_both_flows_run_from_a_configuration_alone(prefect_server: None, own_home: Path, tmp_path: Path) -> None:
    from flows.search.lr_find import lr_find
    from flows.search.optimizers import optimizers as compare

    found = lr_find(TINY, None, [], model="lstm", out=str(tmp_path / "rates"), lowest=1e-4, highest=10.0, updates=40)
    assert (tmp_path / "rates" / "lr_find.png").is_file()
    assert found["suggestion"] > 0
    stages = {path.name for path in (own_home / "store").iterdir() if not path.name.startswith(".")}
    assert not stages & {"fit", "lr-find", "optimizers"}
    compared = compare(TINY, None, [], {"adamw": [0.01], "gd": None}, "lstm", 8, 2_000, 1.0, str(tmp_path / "rules"))
    assert {trial["optimizer"] for trial in compared["trials"]} == {"adamw", "gd"}
    assert (tmp_path / "rules" / "optimizers.png").is_file()
