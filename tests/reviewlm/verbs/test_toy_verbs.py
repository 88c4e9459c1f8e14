"""Verbs that teach small networks tasks that need memory: figures, files, MLflow runs, and options checked first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from core.errors import ConfigError, Diverged
from course import toy_training
from models.base import ModelError
from models.specs import RecurrentSpec
from reviewlm.cli import app
from tests.command_line import complaint, run


@pytest.mark.long
def test_addition_is_taught_and_measured_by_the_length_of_the_carry(own_home: Path, tmp_path: Path) -> None:
    options = ("--hidden", 32, "--batch", 64, "--updates", 400, "--out", tmp_path)
    found = run("toy", "addition", "--bits", 4, "--networks", "gru, lstm forget 1", *options)
    assert [row["network"] for row in found["addition"]] == ["gru", "lstm forget 1"]
    assert found["addition"][1]["exact"] == 1
    assert [row["longest carry"] for row in found["addition_by_carry"]] == [0, 1, 2, 3, 4]
    assert [row["lstm forget 1"] for row in found["addition_by_carry"]] == [1] * 5
    assert (tmp_path / "addition.png").stat().st_size > 10_000
    assert not (own_home / "mlflow.db").exists()


@pytest.mark.slow
def test_recall_is_taught_and_tracked(migrated_home: Path) -> None:
    options = ("--networks", "tanh", "--hidden", 8, "--batch", 4, "--updates", 5, "--track")
    found = run("toy", "recall", "--lag", 6, "--length", 2, *options)
    from core.config.presets import load_config
    from tasks.tracking.track import tracker_of

    tracker = tracker_of(load_config("small"))
    with tracker.reaching() as client:
        logged = client.get_run(found["mlflow_run_id"])
        files = {one.path for one in client.list_artifacts(logged.info.run_id)}
    assert logged.info.status == "FINISHED"
    assert logged.data.params["lag"] == "6"
    assert logged.data.metrics["tanh/exact"] == found["recall"][0]["exact"]
    assert {"recall.json", "recall.csv", "plots"} <= files


@pytest.mark.slow
def test_networks_with_and_without_a_memory_are_compared_at_equal_size_and_the_best_rate_is_named(
    own_home: Path, tmp_path: Path
) -> None:
    options = ("--hidden", 8, "--batch", 4, "--updates", 4, "--rates", "1e-3, 1e-2", "--out", tmp_path)
    rows = run("toy", "association", "--lag", 3, "--slots", 4, "--networks", "tanh, memory", *options)["association"]
    assert [row["network"] for row in rows] == ["tanh", "memory"]
    assert {row["rate"] for row in rows} <= {1e-3, 1e-2}
    assert rows[0]["parameters"] <= rows[1]["parameters"] < 1.2 * rows[0]["parameters"]
    rows = run("toy", "implication", "--networks", "hops 1, hops 3, tanh", *options)["implication"]
    assert rows[0]["parameters"] == rows[1]["parameters"] >= rows[2]["parameters"]
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}.{kind}" for name in ("association", "implication") for kind in ("csv", "png")
    }


def test_networks_that_diverge_are_left_out_and_the_others_shown(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def learn(task: Any, spec: RecurrentSpec, *arguments: Any, **options: Any) -> Any:
        if spec.kind == "rnn":
            raise ModelError("loss nan at update 3", "diverged")
        return taught(task, spec, *arguments, **options)

    taught = toy_training.learn
    monkeypatch.setattr(toy_training, "learn", learn)
    options = ("--lag", 3, "--hidden", 4, "--batch", 2, "--updates", 2)
    done = CliRunner().invoke(app, [str(word) for word in ("toy", "recall", "--networks", "tanh, gru", *options)])
    assert done.exit_code == 0, done.output
    assert "diverged: tanh" in done.stdout
    assert isinstance(complaint("toy", "recall", "--networks", "tanh", *options), Diverged)


@pytest.mark.parametrize("wrong", [("--preset", "nosuch"), ("--set", "foo.bar=1"), ("--out", f"{__file__}/below")])
@pytest.mark.parametrize("track", [(), ("--track",)])
def test_a_toy_verb_checks_its_options_before_it_teaches_anything(
    wrong: tuple[str, str], track: tuple[str, ...], own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toy_training, "learn", lambda *arguments, **options: pytest.fail("something was taught"))
    for task in ("addition", "recall", "association", "implication"):
        assert isinstance(complaint("toy", task, *wrong, *track), ConfigError)
