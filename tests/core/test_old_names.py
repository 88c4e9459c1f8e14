"""Renamed options are read under their old names wherever they may come from, and digests keep the old ones."""

from __future__ import annotations

import logging
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
    "window": "bptt_len", "backprop": "bptt_grad_len", "carry": "stateful", "reset": "state_reset_prob",
    "spike": "loss_spike_threshold",
}  # fmt: skip
VALUES: dict[str, tuple[Any, Any]] = {
    "window": (20, 20), "backprop": (90, 90), "carry": ("review", False), "reset": (0.5, 0.5), "spike": (3.0, 3.0),
}  # fmt: skip
"""By old name: a value as it was written, and the value of the option today."""


def trained(config: Any) -> TrainingSpec:
    (spec,) = [one for one in config.models if isinstance(one, RecurrentSpec)]
    return spec.training


def test_the_table_of_old_names() -> None:
    assert OLD == TABLE


@pytest.mark.parametrize("old", TABLE)
def test_an_override_and_a_preset_may_have_the_old_name_and_one_line_says_so(
    old: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written, value = VALUES[old]
    text = f'"{written}"' if isinstance(written, str) else str(written)
    preset = tmp_path / "mine.toml"
    preset.write_text(f'[[models]]\nkind = "ngram"\n[[models]]\nkind = "lstm"\n[models.training]\n{old} = {text}\n')
    for where, load in (
        ("--set", lambda: load_config("small", [f"models.lstm.training.{old}={text}"])),
        (str(preset), lambda: load_config(str(preset))),
    ):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert getattr(trained(load()), TABLE[old]) == value
        said = f"{where}: training.{old} is now called training.{TABLE[old]}; please rename it"
        assert [record.getMessage() for record in caplog.records] == [said]


@pytest.mark.parametrize("old", TABLE)
def test_a_record_and_a_stored_model_may_have_the_old_name_without_a_word(
    old: str, caplog: pytest.LogCaptureFixture
) -> None:
    written, value = VALUES[old]
    recorded = load_config("small").model_dump(mode="json", by_alias=True)
    (spec,) = [one for one in recorded["models"] if one["kind"] == "lstm"]
    spec["training"][old] = written
    with caplog.at_level(logging.WARNING):
        assert getattr(trained(change_config(recorded)), TABLE[old]) == value
        stored_spec: Any = spec_from_dict({"kind": "lstm", "training": {old: written}} | {"name": "lstm"})
    assert getattr(stored_spec.training, TABLE[old]) == value
    assert not caplog.records
    assert identity(stored_spec)["training"][old] == written
    assert spec_from_dict(stored(stored_spec)) == stored_spec


def test_a_new_name_overrides_an_old_one_of_a_record_and_of_a_preset(tmp_path: Path) -> None:
    recorded = load_config("small").model_dump(mode="json", by_alias=True)
    assert trained(change_config(recorded, ["models.lstm.training.bptt_len=7"])).bptt_len == 7
    preset = tmp_path / "mine.toml"
    preset.write_text('[[models]]\nkind = "ngram"\n[[models]]\nkind = "lstm"\n[models.training]\nwindow = 20\n')
    assert trained(load_config(str(preset), ["models.lstm.training.bptt_len=7"])).bptt_len == 7


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
