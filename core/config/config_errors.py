"""Turn pydantic's validation errors into errors that name the setting as the user wrote it, and say how to fix it.

For an unknown setting, the remedy suggests the nearest one of the same section. If the setting belongs to another
section, the remedy names that section.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel, ValidationError

from core.config.run_config import RunConfig
from core.errors import ConfigError
from models.options import explain as explain_option
from models.options import field_at
from models.specs import KINDS, VocabularySpec

UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
SHOWN = 3
"""Largest number of places of a setting that a message lists."""


def explain(error: ValidationError, options: Mapping[str, Any]) -> ConfigError:
    """Turn the first of pydantic's errors about *options* into a ConfigError."""
    first = error.errors()[0]
    spec, above = _class_of(first["loc"])
    loc = first["loc"][above:]
    place = _place(first["loc"])
    where = ".".join(place) or "configuration"
    if first["type"] in UNKNOWN:
        remedy = _remedy(place, options)
        return ConfigError(f"Unknown setting '{place[-1]}'", where=where, value=first["input"], remedy=remedy)
    message, value = explain_option(spec, {**first, "loc": loc}, _as_in_a_preset), first["input"]
    depth = field_at(spec, loc)[1]
    entries = [str(part) for part in loc[depth:] if isinstance(part, int)]  # pydantic adds names of alternatives
    where = ".".join((*place[: len(place) - len(loc) + depth], *entries)) or where
    if isinstance(value, Mapping):  # a whole section, whose own check may name one of its settings
        named = re.match(r"[\w.]+(?= is )", message)
        value = _at(options, (*place, *named[0].split("."))) if named else None
        where = ".".join((*place, named[0])) if named and value is not None else where
    return ConfigError(f"A setting is not valid: {message}", where=where, value=value)


def _class_of(loc: Sequence[int | str]) -> tuple[Any, int]:
    """Return the class whose option a location names, and how many parts of the location lead to this class."""
    if loc[:1] == ("models",) and len(loc) > 2 and loc[2] in KINDS:
        return KINDS[str(loc[2])][0], 3
    return RunConfig, 0


def _as_in_a_preset(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _place(loc: Sequence[int | str]) -> tuple[str, ...]:
    """Return a location as it is written in a preset: pydantic adds the kind of a model after its number."""
    place = [str(part) for part in loc]
    if place[:1] == ["models"] and len(place) > 2 and place[2] in KINDS:
        del place[2]
    return tuple(place)


def _remedy(place: tuple[str, ...], options: Mapping[str, Any]) -> str:
    key, section = place[-1], place[:-1]
    all_keys = sorted(_all_keys(options), key=lambda path: path[0][:2] != section[:2])  # this model's keys first
    options_here = [name for path, name in all_keys if path == section]
    near = difflib.get_close_matches(key, options_here, n=1)
    hints = [f"did you mean '{near[0]}'?"] if near else []
    elsewhere = [".".join((*path, name)) for path, name in all_keys if name == key]
    if elsewhere:
        hints.append(f"there is {', '.join(elsewhere[:SHOWN])}" + (", …" if len(elsewhere) > SHOWN else ""))
    return " ".join(hints) or f"settings of {'.'.join(section) or 'the configuration'}: {', '.join(options_here)}"


def _all_keys(options: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield section and name of every possible setting of this configuration, with its models and vocabularies."""
    yield from _keys_of_section((), RunConfig)
    models = options.get("models", [])
    for number, model in enumerate(models if isinstance(models, list | tuple) else []):
        kind = model.get("kind") if isinstance(model, Mapping) else None
        if isinstance(kind, str) and kind in KINDS:
            yield from _keys_of_spec(("models", str(number)), KINDS[kind][0])
    vocabularies = options.get("vocabulary", {})
    for name in vocabularies if isinstance(vocabularies, Mapping) else ():
        yield from _keys_of_spec(("vocabulary", name), VocabularySpec)


def _keys_of_section(section: tuple[str, ...], kind: type[BaseModel]) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, field in kind.model_fields.items():
        yield section, name
        for inside in (field.annotation, *get_args(field.annotation)):
            if isinstance(inside, type) and issubclass(inside, BaseModel):
                yield from _keys_of_section((*section, name), inside)


def _keys_of_spec(section: tuple[str, ...], kind: type) -> Iterator[tuple[tuple[str, ...], str]]:
    hints = get_type_hints(kind)
    for entry in fields(kind):
        yield section, entry.name
        if is_dataclass(hints[entry.name]):
            yield from _keys_of_spec((*section, entry.name), hints[entry.name])


def _at(options: Any, place: Sequence[str]) -> Any:
    """Return the value at a place, or None if there is none."""
    for part in place:
        if isinstance(options, Mapping):
            options = options.get(part)
        elif isinstance(options, list | tuple) and part.isdigit() and int(part) < len(options):
            options = options[int(part)]
        else:
            return None
    return options
