"""Read presets and overrides, and report configuration errors with a correction.

A preset is a TOML file in `config/` that contains only the differences from the preset it `extends`. Overrides such as
`models.lstm.hidden=650` change single values. pydantic's errors become errors that name the setting as the user wrote
it. For an unknown setting, the remedy names the nearest one of the same section, and those of its name in others.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import takewhile
from pathlib import Path
from typing import Any, cast, get_args, get_origin

from pydantic import ValidationError

from reviewlm.core.config.run_config import RunConfig, default_models, seeded_sections
from reviewlm.core.errors import ConfigError, nearest
from reviewlm.models.options import explain as explain_option
from reviewlm.models.options import field_at
from reviewlm.models.specs import KINDS, VocabularySpec, as_written

UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
MOST_PLACES_SHOWN = 3
"""Largest number of places of a setting that a message lists."""
DEEPEST = 16
"""Largest depth of nested tables; the configuration has five levels."""
MOST_BITS = 64
"""Largest size of a whole number; Python and pydantic cannot write numbers of thousands of digits, even in an error."""
MOST_PARENTS = 16
"""Largest number of presets that may extend one another."""
DEFAULT = "small"
"""The preset of a command line without --preset."""
PRESETS = Path(__file__).resolve().parents[2] / "config"


def explain(error: ValidationError, options: Mapping[str, Any]) -> ConfigError:
    """Turn the first of pydantic's errors about *options* into a ConfigError, which calls a model by its name."""
    first = error.errors()[0]
    loc = first["loc"]
    spec = cast(Any, RunConfig)
    section = tuple[str, ...]()
    # Pydantic adds the kind of a model after its number.
    if len(loc) > 2 and loc[0] == "models" and loc[2] in KINDS:
        section = ("models", _name_of(options["models"][loc[1]]))
        spec = KINDS[str(loc[2])][0]
        loc = loc[3:]

    if first["type"] in UNKNOWN:
        place = ".".join(map(str, (*section, *loc)))
        remedy = _remedy(place, options)
        return ConfigError(
            f"Unknown setting '{loc[-1]}'",
            where=place,
            value=first["input"],
            remedy=remedy,
        )

    message = explain_option(spec, {**first, "loc": loc}, _as_in_a_preset)
    value = first["input"]
    depth = field_at(spec, loc)[1]
    entries: list[Any] = []
    for part in loc[depth:]:
        if isinstance(part, int):
            entries.append(part)

    if isinstance(value, Mapping):  # a whole section, whose own check may name one of its settings
        setting = re.match(r"[\w.]+(?= is )", message)
        names = []
        if setting:
            names = setting[0].split(".")

        value = _at(value, names) if names else None
        entries = entries if value is None else names

    where = ".".join(map(str, (*section, *loc[:depth], *entries))) or "configuration"
    return ConfigError(f"A setting is not valid: {message}", where=where, value=value)


def _as_in_a_preset(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)


def _at(options: Any, names: Sequence[str]) -> Any:
    """Return the value at a place in nested sections, or None if there is none."""
    for name in names:
        options = options.get(name) if isinstance(options, Mapping) else None
    return options


def _remedy(place: str, options: Mapping[str, Any]) -> str:
    section, _, key = place.rpartition(".")
    of_model = ".".join(place.split(".")[:2])
    settings = sorted(_all_settings(options), key=lambda setting: not setting.startswith(of_model))
    here = []
    elsewhere = []
    for setting in settings:
        path, _, name = setting.rpartition(".")
        if path == section:
            here.append(name)
        if name == key:
            elsewhere.append(setting)

    hint = nearest(key, here)
    if elsewhere:
        more = ", …" if len(elsewhere) > MOST_PLACES_SHOWN else ""
        hint += f"there is {', '.join(elsewhere[:MOST_PLACES_SHOWN])}{more}"

    return hint.rstrip() or f"settings of {section or 'the configuration'}: {', '.join(here)}"


def _all_settings(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield every possible setting of this configuration, with those of its models and vocabularies."""
    yield from _settings("", RunConfig)
    models = options.get("models")
    vocabularies = options.get("vocabulary")
    for model in models if isinstance(models, list | tuple) else ():
        if isinstance(model, Mapping) and str(model.get("kind")) in KINDS:
            yield from _settings(f"models.{_name_of(model)}.", KINDS[model["kind"]][0])
    for name in vocabularies if isinstance(vocabularies, Mapping) else ():
        yield from _settings(f"vocabulary.{name}.", VocabularySpec)


def _settings(prefix: str, kind: Any) -> Iterator[str]:
    """Yield the settings of a class, and of the classes that are in it by one name."""
    for name, field in kind.__pydantic_fields__.items():
        yield f"{prefix}{name}"
        if get_origin(field.annotation) not in (dict, tuple):
            for inside in (field.annotation, *get_args(field.annotation)):
                if hasattr(inside, "__pydantic_fields__"):
                    yield from _settings(f"{prefix}{name}.", inside)


def preset_names() -> list[str]:
    """Return the names of the presets that ship with the project."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def other_presets(name: str) -> str:
    """Return the names of the presets, the nearest first, for the message about an unknown one."""
    return f"{nearest(name, preset_names())}presets: {', '.join(preset_names())}, or the path of a TOML file"


def purpose(name: str) -> str:
    """Return the purpose of a shipped preset: the first sentence of the comment at the beginning of its file."""
    lines = (PRESETS / f"{name}.toml").read_text(encoding="utf-8").splitlines()
    comment = " ".join(
        line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), lines)
    )
    return re.split(r"(?<=\.)\s+(?=[A-Z])", comment)[0]


def load_config(
    preset: str = DEFAULT,
    overrides: Sequence[str] = (),
    source: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Read a preset (a name, or the path of a TOML file) and apply `key=value` overrides.

    Args:
        overrides: Settings that replace those of the preset.
        source: A section `source` that replaces that of the preset, e.g. a recorded one.

    Raises:
        ConfigError: Unknown preset or key, wrong type, value out of range.
    """
    options = _read_preset(preset, seen=())
    if source is not None:
        options["source"] = dict(source)
    for override in overrides:
        _apply(options, override)
    options["preset"] = preset
    return parse_config(options)


def change_config(recorded: Mapping[str, Any], overrides: Sequence[str] = ()) -> RunConfig:
    """Apply `key=value` overrides to a whole recorded configuration, e.g. from a version's lineage.

    Raises:
        ConfigError: Unknown key, wrong type, value out of range; or the record has a setting that does not exist any
            more.
    """
    options = deepcopy(dict(recorded))
    if any(override.partition("=")[0].strip() == "seed" for override in overrides):
        # Those that were copied from the whole configuration follow it.
        for section in seeded_sections(options):
            if section.get("seed") == options.get("seed"):
                section.pop("seed", None)

    for override in overrides:
        _apply(options, override)

    with as_written():
        return parse_config(options)


def parse_config(options: dict[str, Any]) -> RunConfig:
    """Validate a nested dictionary.

    Raises:
        ConfigError: Names the key, the value, the allowed values and the nearest valid key.
    """
    try:
        config = RunConfig.model_validate(options)
        # Files are never registered under the demo's name.
        return config.with_input(config.source.input)
    except ValidationError as error:
        raise explain(error, options) from error
    except RecursionError as error:
        raise _too_deep("configuration") from error


def _read_preset(preset: str, seen: tuple[str, ...]) -> dict[str, Any]:
    own = preset.endswith(".toml")
    if own:
        path = Path(preset)
    else:
        path = PRESETS / f"{preset}.toml"

    if not (os.path.isfile(path) if own else preset in preset_names()):
        raise ConfigError(
            f"There is no preset '{preset}'", where=path, remedy=other_presets(preset)
        )
    if preset in seen or len(seen) >= MOST_PARENTS:
        raise ConfigError(
            "Presets extend each other in a circle", where=path, value=" → ".join([*seen, preset])
        )

    try:
        # Windows' editors write a mark.
        options = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except RecursionError as error:
        raise _too_deep(path) from error
    except (OSError, ValueError) as error:  # includes numbers of more digits than Python reads
        raise ConfigError("The preset is not valid TOML", where=path, cause=str(error)) from error

    _require_readable(options, path)
    parent = options.pop("extends", None)
    if parent is not None and not isinstance(parent, str):
        raise ConfigError("`extends` must be the name of a preset", where=path, value=parent)

    if parent and parent.endswith(".toml"):
        parent = str(path.parent / parent)  # relative to the file that names it

    return _merge(
        _read_preset(parent, (*seen, preset)) if parent else {"models": default_models()},
        options,
        path,
    )


def _require_readable(value: Any, where: str | Path) -> None:
    """Raise ConfigError for values that libraries cannot even print: endless nesting, thousands of digits."""
    level = [value]
    for _ in range(DEEPEST + 1):
        if any(isinstance(one, int) and one.bit_length() > MOST_BITS for one in level):
            raise ConfigError(
                "A number is far too large", where=where, remedy=f"{MOST_BITS} bits at most"
            )
        inside = []
        for one in level:
            if isinstance(one, dict | list):
                inside.append(list(one.values()) if isinstance(one, dict) else one)

        level = [one for values in inside for one in values]

    if level:
        raise _too_deep(where)


def _too_deep(where: str | Path) -> ConfigError:
    return ConfigError(
        "The settings are nested too deeply",
        where=where,
        remedy=f"settings are nested in at most {DEEPEST} tables",
    )


def _merge(
    base: dict[Any, Any],
    change: dict[Any, Any],
    path: Path,
) -> dict[Any, Any]:
    """Return a section with changes; `[models.NAME]` changes one model, `[[models]]` replaces all."""
    merged = dict(base)
    for key, value in change.items():
        old = merged.get(key)
        changes = isinstance(value, dict)
        if changes and isinstance(old, list):
            numbered = {
                _index(old, name, path, f"[{key}.{name}]"): one for name, one in value.items()
            }
            merged[key] = list(_merge(dict(enumerate(old)), numbered, path).values())
        else:
            if changes and isinstance(old, dict):
                merged[key] = _merge(old, value, path)
            else:
                merged[key] = value

    return merged


def _apply(options: dict[str, Any], override: str) -> None:
    """Set one dotted key; a model is given by name or number: `models.lstm.hidden=9`, `models.1.hidden=9`."""
    key, value = split_override(override)
    *sections, last = key.split(".")
    if len(sections) >= DEEPEST:
        raise _too_deep("--set")

    _require_readable(value, "--set")
    if sections[:1] == ["models"]:
        sections[1:] = _with_dots(options.setdefault("models", default_models()), sections[1:])

    place: Any = options
    for name in sections:
        if isinstance(place, list):
            place = place[_index(place, name, "--set", override)]
        else:
            place = place.setdefault(name, {})

        if not isinstance(place, dict | list):
            raise ConfigError(f"'{name}' is a value, not a section", where="--set", value=override)

    place[_index(place, last, "--set", override) if isinstance(place, list) else last] = value


def _with_dots(entries: Any, parts: Sequence[str]) -> list[str]:
    """Return the parts of a key with the name of a model in one, also if it has dots."""
    if isinstance(entries, list):
        names = {_name_of(entry) for entry in entries}
    else:
        names = set()

    joined = ((".".join(parts[:used]), used) for used in range(len(parts), 1, -1))
    return next(([name, *parts[used:]] for name, used in joined if name in names), list(parts))


def split_override(override: str) -> tuple[str, Any]:
    """Return the key and the value of `key=value`: a TOML value, or else the text as it is.

    Raises:
        ConfigError: There is no equals sign, or the value is nested too deeply.
    """
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError("An override must look like key=value", where="--set", value=override)

    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except RecursionError as error:
        raise _too_deep("--set") from error
    except ValueError:  # no TOML, or a number of more digits than Python reads
        value = text

    return key.strip(), value


def _index(
    entries: list[Any],
    name: str,
    where: str | Path,
    written: str,
) -> int:
    """Return the place of the list entry with this name or number."""
    if name.isascii() and name.isdigit() and len(name) < 10 and int(name) < len(entries):
        return int(name)
    if name in (names := [_name_of(entry) for entry in entries]):
        return names.index(name)

    choices = [one for one in names if one]
    remedy = "use "
    if choices:
        remedy = f"use {', '.join(choices)}, or "

    raise ConfigError(
        f"There is no {'model ' if choices else ''}'{name}' among these {len(entries)}",
        where=where,
        value=written,
        remedy=f"{nearest(name, choices)}{remedy}a number from 0 to {len(entries) - 1}",
    )


def _name_of(entry: Any) -> str:
    """Return the name of a model as the presets write it; without a name, the default of its kind."""
    if not isinstance(entry, Mapping):
        return ""
    kind = entry.get("kind")
    usual = None
    if isinstance(kind, str) and kind in KINDS:
        usual = KINDS[kind][0]

    name = entry.get("name")
    if isinstance(name, str) and name:
        return name
    return str(getattr(usual, "name", ""))
