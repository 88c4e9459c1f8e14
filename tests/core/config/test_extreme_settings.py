"""No setting takes a number that ends in a crash later: infinities, 1e20, thousands of digits, deep nesting."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import pytest
from pydantic import BaseModel

from reviewlm.core.config.presets import load_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.errors import ConfigError
from tests.core.config.setting_types import types_in

EXTREME = [
    "inf",
    "-inf",
    "nan",
    "1e20",
    "-1e20",
    "9" * 25,
    "9" * 5_000,
    "0x" + "f" * 5_000,
    "1e400",
]


def numeric_settings(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Full names of all settings that are numbers, or rows of numbers."""
    for name, field in section.model_fields.items():
        inside = [
            one for one in (field.annotation, *get_args(field.annotation)) if isinstance(one, type)
        ]
        below = [one for one in inside if issubclass(one, BaseModel)]
        if below:
            yield from numeric_settings(below[0], f"{prefix}{name}.")
        elif {int, float} & types_in(field.annotation):
            yield f"{prefix}{name}"


SETTINGS = list(numeric_settings(RunConfig))


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_setting_takes_an_extreme_number(setting):
    whole = setting.endswith(("sample_stars", "shares", "copies"))
    for value in EXTREME:
        with pytest.raises(ConfigError):
            load_config("small", [f"{setting}={f'[{value}]' if whole else value}"])


@pytest.mark.parametrize(
    "text",
    [
        "a" + ".a" * 5_000 + " = 1",
        "a = " + "[" * 5_000 + "]" * 5_000,
        "a = " + "{a=" * 5_000 + "1" + "}" * 5_000,
        "seed = " + "9" * 5_000,
        "[sweep.space]\na = " + "[" * 200 + "]" * 200,
        "a = 2024-13-45",
        "\udcff",
    ],
    ids=["keys", "lists", "tables", "digits", "200 lists", "date", "bytes"],
)
def test_a_preset_that_no_parser_survives_is_a_configuration_error(tmp_path, text):
    preset = tmp_path / "odd.toml"
    preset.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=r"odd\.toml"):
        load_config(str(preset))


@pytest.mark.parametrize(
    "override",
    [
        "sweep.space=" + "[" * 5_000 + "]" * 5_000,
        "sweep.space=" + "{a=" * 500 + "1" + "}" * 500,
        "a" + ".a" * 5_000 + "=1",
        "models.²=1",
        "models." + "9" * 5_000 + ".order=3",
        "source.input.0.x=1",
        "models.0.kind.x=1",
        "models.0.fallback.x=1",
        "=1",
        ".=1",
        "seed",
        "models=3",
        "models.0=3",
        "source=1",
        "clean.=",
    ],
)
def test_an_override_that_cannot_be_is_a_configuration_error(override):
    with pytest.raises(ConfigError):
        load_config("small", ['source.input=["a"]', override])
