"""Describe every setting: default, values with their range, and meaning, read from the code.

The classes of the configuration and of the models' options declare types, ranges and defaults; their docstrings have
the meanings.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, get_type_hints

from pydantic.fields import FieldInfo

from core.config.run_config import RunConfig
from core.config.section import Section
from models.options import OnlyWith, allowed_values
from models.specs import KINDS, VocabularySpec

FIXED = {"kind": "Kind of the model."}


@dataclass(frozen=True)
class Setting:
    """A setting.

    Args:
        name: Its name in its section.
        default: Its default, as a preset writes it.
        values: Its values and their range, in words.
        meaning: What it is for.
    """

    name: str
    default: str
    values: str
    meaning: str


@dataclass(frozen=True)
class SettingsTable:
    """The settings of a section, or the options of one kind of model.

    Args:
        title: Heading.
        prefix: What `--set` writes before a setting, such as "promotion" or "models.NAME.training"; "" at the top.
        described: The class that declares the settings.
        text: What its docstring says as a whole.
        settings: The settings, without those of sections in it.
    """

    title: str
    prefix: str
    described: type
    text: str
    settings: tuple[Setting, ...]


def tables() -> Iterator[SettingsTable]:
    """Yield the tables of all settings: sections of the configuration, vocabularies, models by kind."""
    yield from _sections("", RunConfig, ("vocabulary", "models"))
    yield from _options("vocabulary.NAME", "vocabulary.NAME", VocabularySpec, set())
    kinds: dict[type, list[str]] = {}
    for kind, (spec, _) in KINDS.items():
        kinds.setdefault(spec, []).append(kind)
    shown: set[type] = set()
    for spec, names in kinds.items():
        yield from _options(f"models.NAME with kind {', '.join(names)}", "models.NAME", spec, shown)


def _sections(prefix: str, section: type[Section], left_out: Iterable[str] = ()) -> Iterator[SettingsTable]:
    """Yield the table of a section, then those of the sections in it."""
    inner = {name: field for name, field in section.model_fields.items() if _is_section(field.annotation)}
    names = [name for name in section.model_fields if name not in inner and name not in left_out]
    yield _table(prefix or "Top level", prefix, section, names)
    for name, field in inner.items():
        yield from _sections(f"{prefix}.{name}" if prefix else name, field.annotation)  # type: ignore[arg-type]


def _options(title: str, prefix: str, spec: type, shown: set[type]) -> Iterator[SettingsTable]:
    """Yield the table of a model's options, then those of its sections that were not shown yet."""
    inner: dict[str, Any] = {
        name: kind for name, kind in get_type_hints(spec).items() if is_dataclass(kind) or _is_section(kind)
    }
    yield _table(title, prefix, spec, [entry.name for entry in fields(spec) if entry.name not in inner])
    for name, section in inner.items():
        if _is_section(section):
            yield from _sections(f"{prefix}.{name}", section)
        elif section not in shown:
            shown.add(section)
            yield from _options(f"{prefix}.{name}", f"{prefix}.{name}", section, shown)


def _table(title: str, prefix: str, described: Any, names: Iterable[str]) -> SettingsTable:
    meanings = FIXED | _meanings(described)
    text = re.split(r"\n(?:Attributes|Args):\n", inspect.cleandoc(described.__doc__ or ""))[0].strip()
    settings = tuple(_setting(name, described.__pydantic_fields__[name], meanings.get(name, "")) for name in names)
    return SettingsTable(title, prefix, described, text, settings)


def _setting(name: str, field: FieldInfo, meaning: str) -> Setting:
    effect = next((f" Only takes effect {mark}." for mark in field.metadata if isinstance(mark, OnlyWith)), "")
    values = "; ".join(filter(None, allowed_values(field.annotation, field.metadata)))
    return Setting(name, written(field.get_default(call_default_factory=True)), values, meaning + effect)


def _meanings(described: type) -> dict[str, str]:
    """Return what a docstring says of each attribute in its section "Attributes" or "Args".

    A class that extends another one describes only what it adds.
    """
    above = [base for base in described.__bases__ if is_dataclass(base) or _is_section(base)]
    meanings: dict[str, str] = {name: text for base in above for name, text in _meanings(base).items()}
    text = inspect.cleandoc(described.__doc__ or "")
    name = ""
    for line in "\n".join(re.split(r"\n(?:Attributes|Args):\n", text)[1:]).split("\n"):
        if entry := re.match(r" {4}(\w+(?:, \w+)*): (.*)", line):
            name = entry[1]
            meanings |= dict.fromkeys(name.split(", "), entry[2])
        elif name and line.startswith(" " * 8):
            meanings |= {one: f"{meanings[one]} {line.strip()}" for one in name.split(", ")}
        else:
            name = ""
    return meanings


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def written(value: Any) -> str:
    """Return a value as a preset writes it."""
    if value is None:
        return '"none"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
