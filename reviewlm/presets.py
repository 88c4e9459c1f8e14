"""Presets, overrides, and complaints about the configuration that say what to write instead.

A preset is a TOML file in `config/` that says only what differs from the preset it `extends`; overrides such as
`models.1.hidden=650` change single values. Unknown keys are errors that name the nearest valid one.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reviewlm.complaints import explain
from reviewlm.config import RunConfig, default_models
from reviewlm.errors import ConfigError

PRESETS = Path(__file__).resolve().parent.parent / "config"


def preset_names() -> list[str]:
    """Return the names of the presets that ship with the project."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def load_config(preset: str = "small", overrides: tuple[str, ...] | list[str] = ()) -> RunConfig:
    """Read a preset (a name, or the path of a TOML file) and apply `key=value` overrides.

    Raises:
        ConfigError: Unknown preset or key, wrong type, value out of range.
    """
    options = _read_preset(preset, seen=())
    for override in overrides:
        _apply(options, override)
    options["preset"] = preset
    return parse_config(options)


def parse_config(options: dict[str, Any]) -> RunConfig:
    """Validate a nested dictionary.

    Raises:
        ConfigError: Names the key, the value, what is allowed and the nearest valid key.
    """
    try:
        return RunConfig.model_validate(options)
    except ValidationError as error:
        raise explain(error, options) from error


def _read_preset(preset: str, seen: tuple[str, ...]) -> dict[str, Any]:
    path = Path(preset) if preset.endswith(".toml") else PRESETS / f"{preset}.toml"
    if not path.is_file():
        near = difflib.get_close_matches(preset, preset_names(), n=1)
        remedy = f"did you mean '{near[0]}'? " if near else ""
        remedy += f"presets: {', '.join(preset_names())}, or the path of a TOML file"
        raise ConfigError(f"There is no preset '{preset}'", where=path, remedy=remedy)
    if preset in seen:
        raise ConfigError("Presets extend each other in a circle", where=path, value=" → ".join([*seen, preset]))
    try:
        options = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("The preset is not valid TOML", where=path, cause=str(error)) from error
    parent = options.pop("extends", None)
    if parent is not None and not isinstance(parent, str):
        raise ConfigError("`extends` must be the name of a preset", where=path, value=parent)
    if parent and parent.endswith(".toml"):
        parent = str(path.parent / parent)  # relative to the file that names it
    return _merge(_read_preset(parent, (*seen, preset)), options) if parent else options


def _merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _apply(options: dict[str, Any], override: str) -> None:
    """Set one dotted key; numbers in it index into lists, e.g. `models.1.hidden=650`."""
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError("An override must look like key=value", where="--set", value=override)
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    parts = key.strip().split(".")
    if parts[0] == "models" and "models" not in options:
        options["models"] = default_models()
    place: Any = options
    for part in parts[:-1]:
        place = _descend(place, part, override)
    if isinstance(place, list):
        place[_index(place, parts[-1], override)] = value
    else:
        place[parts[-1]] = value


def _descend(place: Any, part: str, override: str) -> Any:
    if isinstance(place, list):
        return place[_index(place, part, override)]
    below = place.setdefault(part, {})
    if not isinstance(below, dict | list):
        raise ConfigError(f"'{part}' is a value, not a section", where="--set", value=override)
    return below


def _index(place: list[Any], part: str, override: str) -> int:
    if not part.isdigit() or int(part) >= len(place):
        raise ConfigError(
            f"'{part}' is not an index of a list of {len(place)}", where="--set", value=override,
            remedy=f"use a number from 0 to {len(place) - 1}",
        )
    return int(part)
