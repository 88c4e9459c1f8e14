"""`reviewlm config` shows every setting with its value, and explains it with the words of its class."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from core.config.presets import load_config, preset_names
from core.errors import ConfigError
from reviewlm.cli import app


def told(*words: str) -> dict[str, Any]:
    """Return the JSON of a command."""
    ran = CliRunner().invoke(app, ["config", *words, "--json"], catch_exceptions=False)
    return dict(json.loads(ran.stdout.splitlines()[-1]))


def leaves(values: Any, prefix: str = "") -> dict[str, Any]:
    """Return the values of nested tables by their names, models under theirs."""
    if not isinstance(values, dict):
        return {prefix.rstrip("."): values}
    found: dict[str, Any] = {}
    for name, value in values.items():
        inside = {model["name"]: model for model in value} if name == "models" else value
        found |= leaves(inside, f"{prefix}{name}.")
    return found


@pytest.mark.parametrize("preset", preset_names())
def test_all_settings_of_a_preset_are_shown(preset: str) -> None:
    config = load_config(preset)
    shown = {row["setting"] for row in told("show", "--preset", preset)["settings"]}
    every = leaves(config.model_dump(mode="json", exclude={"preset"}))
    missing = [key for key in every if not any(key.startswith(one) for one in shown)]
    assert missing == []


def test_values_are_those_of_the_preset_after_the_overrides() -> None:
    shown = told("show", "--preset", "demo", "--set", "models.lstm.hidden=99")["settings"]
    rows = {row["setting"]: row for row in shown}
    config = load_config("demo")
    assert rows["models.lstm.hidden"] == {"setting": "models.lstm.hidden", "value": "99", "changed": True}
    assert rows["seed"]["value"] == str(config.seed)
    assert rows["models.kn5.order"] == {"setting": "models.kn5.order", "value": "5", "changed": False}
    only = told("show", "--changed", "--preset", "demo")["settings"]
    assert {row["setting"] for row in only} == {key for key, row in rows.items() if row["changed"]}


def test_a_setting_is_explained_with_range_default_and_meaning() -> None:
    one = told("explain", "promotion.confidence")
    assert (one["value"], one["default"]) == ("0.95", "0.95")
    assert "below 1" in one["values"] or "less than 1" in one["values"]
    assert len(one["meaning"].split()) >= 5


def test_the_value_of_a_setting_is_shown_with_its_preset() -> None:
    done = CliRunner().invoke(app, ["config", "explain", "models.lstm.hidden", "--preset", "demo"])
    assert "value    256  (preset demo)" in done.stdout


def test_an_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no such setting") as raised:
        CliRunner().invoke(app, ["config", "explain", "confidence"], catch_exceptions=False)
    assert "promotion.confidence" in str(raised.value)


def test_settings_are_found_by_a_word_of_their_meaning() -> None:
    found = [row["setting"] for row in told("list", "dropout")["settings"]]
    assert "models.lstm.dropout" in found
    assert all("dropout" in f"{row['setting']} {row['meaning']}".lower() for row in told("list", "dropout")["settings"])
