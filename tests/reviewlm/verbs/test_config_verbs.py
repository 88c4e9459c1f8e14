"""`reviewlm config` shows every setting with its value, and explains it with the words of its class."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from reviewlm.cli import app
from reviewlm.core.config.presets import load_config
from reviewlm.core.errors import ConfigError
from tests.command_line import run


def test_values_are_those_of_the_preset_after_the_overrides() -> None:
    shown = run(
        "config",
        "show",
        "--preset",
        "demo",
        "--set",
        "models.lstm.hidden=99",
    )["settings"]
    rows = {row["setting"]: row for row in shown}
    config = load_config("demo")
    assert rows["models.lstm.hidden"] == {
        "setting": "models.lstm.hidden",
        "value": "99",
        "changed": True,
    }
    assert rows["seed"]["value"] == str(config.seed)
    assert rows["models.kn5.order"] == {
        "setting": "models.kn5.order",
        "value": "5",
        "changed": False,
    }
    only = run(
        "config",
        "show",
        "--changed",
        "--preset",
        "demo",
    )["settings"]
    assert {row["setting"] for row in only} == {key for key, row in rows.items() if row["changed"]}


def test_a_setting_is_explained_by_all_that_is_known_of_it() -> None:
    one = run("config", "explain", "promotion.confidence")
    assert (one["value"], one["default"]) == ("0.95", "0.95")
    assert "below 1" in one["values"] or "less than 1" in one["values"]
    assert len(one["meaning"].split()) >= 5


def test_an_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no such setting") as raised:
        CliRunner().invoke(app, ["config", "explain", "confidence"], catch_exceptions=False)
    assert "promotion.confidence" in str(raised.value)


def test_presets_of_classifiers_are_listed_with_their_classifiers() -> None:
    presets = {
        row["preset"]: row["models"].split(", ") for row in run("config", "presets")["presets"]
    }
    assert presets["classify_demo"] == ["tfidf_logistic", "bayes", "tfidf", "lstm"]
    assert "kn5+lstm" in presets["demo"]
