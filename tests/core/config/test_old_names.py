"""Renamed options are read under their old names wherever they may come from, and digests keep the old ones."""

from __future__ import annotations

import json
import logging
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from core.config.old_names import OLD
from core.config.presets import change_config, load_config
from core.config.search_space import Choice, parse_space
from core.errors import ConfigError
from models.options import stored
from models.specs import RecurrentSpec, TrainingSpec, identity, spec_from_dict

TABLE = {
    "training.window": "training.bptt_len", "training.backprop": "training.bptt_grad_len",
    "training.carry": "training.stateful", "training.reset": "training.state_reset_prob",
    "training.spike": "training.loss_spike_threshold", "remind": "condition_on_stars",
}  # fmt: skip
VALUES: dict[str, tuple[Any, Any]] = {
    "training.window": (20, 20), "training.backprop": (90, 90), "training.carry": ("review", False),
    "training.reset": (0.5, 0.5), "training.spike": (3.0, 3.0), "remind": (False, False),
}  # fmt: skip
"""By old name: a value as it was written, and the value of the option today."""


def recurrent(config: Any) -> RecurrentSpec:
    (spec,) = [one for one in config.models if isinstance(one, RecurrentSpec)]
    return spec


def value_of(spec: Any, option: str) -> Any:
    return attrgetter(TABLE[option])(spec)


def nested(option: str, value: Any) -> dict[str, Any]:
    section, _, name = option.rpartition(".")
    return {section: {name: value}} if section else {name: value}


def test_the_table_of_old_names() -> None:
    assert OLD == TABLE


@pytest.mark.parametrize("old", TABLE)
def test_an_override_and_a_preset_may_have_the_old_name_and_one_line_says_so(
    old: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written, value = VALUES[old]
    text = json.dumps(written)
    section, _, name = old.rpartition(".")
    preset = tmp_path / "mine.toml"
    header = f"[models.{section}]\n" if section else ""
    preset.write_text(f'[[models]]\nkind = "ngram"\n[[models]]\nkind = "lstm"\n{header}{name} = {text}\n')
    for where, load in (
        ("--set", lambda: load_config("small", [f"models.lstm.{old}={text}"])),
        (str(preset), lambda: load_config(str(preset))),
    ):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert value_of(recurrent(load()), old) == value
        said = f"{where}: {old} is now called {TABLE[old]}; please rename it"
        assert [record.getMessage() for record in caplog.records] == [said]


@pytest.mark.parametrize("old", TABLE)
def test_a_record_and_a_stored_model_may_have_the_old_name_without_a_word(
    old: str, caplog: pytest.LogCaptureFixture
) -> None:
    written, value = VALUES[old]
    section, _, name = old.rpartition(".")
    recorded = load_config("small").model_dump(mode="json", by_alias=True)
    (spec,) = [one for one in recorded["models"] if one["kind"] == "lstm"]
    (spec[section] if section else spec)[name] = written
    with caplog.at_level(logging.WARNING):
        assert value_of(recurrent(change_config(recorded)), old) == value
        stored_spec: Any = spec_from_dict({"kind": "lstm", "name": "lstm", **nested(old, written)})
    assert value_of(stored_spec, old) == value
    assert not caplog.records
    kept = identity(stored_spec)
    assert (kept[section] if section else kept)[name] == written
    assert spec_from_dict(stored(stored_spec)) == stored_spec


def test_the_old_choice_of_cells_is_read_and_kept_in_digests(tmp_path: Path) -> None:
    spec: Any = spec_from_dict({"kind": "gru", "name": "gru", "cells": "own", "form": "cho"})
    assert spec.cells == "reference"
    assert spec == RecurrentSpec(kind="gru", name="gru", cells="reference", form="cho")
    assert identity(spec)["cells"] == "own"
    assert parse_space(RecurrentSpec(), {"cells": "fused|own"}) == {"cells": Choice(("fused", "reference"))}
    (fused,) = [one for one in load_config("small", ["models.lstm.cells=own"]).models if one.name == "lstm"]
    assert fused.cells == "reference"  # type: ignore[union-attr]


def test_a_new_name_overrides_an_old_one_of_a_record_and_of_a_preset(tmp_path: Path) -> None:
    recorded = load_config("small").model_dump(mode="json", by_alias=True)
    assert recurrent(change_config(recorded, ["models.lstm.training.bptt_len=7"])).training.bptt_len == 7
    preset = tmp_path / "mine.toml"
    preset.write_text('[[models]]\nkind = "ngram"\n[[models]]\nkind = "lstm"\n[models.training]\nwindow = 20\n')
    assert recurrent(load_config(str(preset), ["models.lstm.training.bptt_len=7"])).training.bptt_len == 7


def test_both_names_at_once_are_refused() -> None:
    with pytest.raises(ValueError, match="bptt_len"):
        TrainingSpec(**{"window": 5, "bptt_len": 6})  # type: ignore[arg-type]


def test_a_preset_with_both_names_is_refused(tmp_path: Path) -> None:
    preset = tmp_path / "mine.toml"
    preset.write_text('[[models]]\nkind = "lstm"\n[models.training]\nwindow = 20\nbptt_len = 30\n')
    with pytest.raises(ConfigError, match="'window' is the old name of 'bptt_len', and the preset sets both"):
        load_config(str(preset))


def test_the_space_of_a_sweep_may_have_an_old_name() -> None:
    assert list(parse_space(RecurrentSpec(), {"training": {"window": "20..50"}})) == ["training.bptt_len"]
    assert list(parse_space(RecurrentSpec(), {"training.window": "20..50"})) == ["training.bptt_len"]
    for carry in ("stream|review", ["stream", "review"]):
        assert parse_space(RecurrentSpec(), {"training.carry": carry}) == {"training.stateful": Choice((True, False))}
