"""Describe every setting: default, values with their range, and meaning, read from the code.

The classes of the configuration and of the models' options declare types, ranges and defaults; their docstrings have
the meanings.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from typing import Any

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.section import Section
from reviewlm.models.options import OnlyWith, allowed_values

FIXED = {"kind": "Kind of the model."}
NAMED = ("vocabulary", "models")
"""Parts of the configuration that hold several entries, each under its name."""
SECTIONS = re.compile(r"\n(?:Attributes|Args):\n")


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


def is_section(kind: Any) -> bool:
    """Return whether a type has settings itself: a section of the configuration, or the options of a model."""
    return isinstance(kind, type) and (issubclass(kind, Section) or is_dataclass(kind))


def sections_of(kind: Any) -> dict[str, type]:
    """Return the sections in a section, by name."""
    return {
        name: one.annotation
        for name, one in kind.__pydantic_fields__.items()
        if is_section(one.annotation)
    }


def settings_of(kind: Any) -> list[Setting]:
    """Return the settings of a section, without those of the sections in it."""
    meanings = FIXED | _meanings(kind)
    left_out = {*sections_of(kind), *(NAMED if kind is RunConfig else ())}
    settings = []
    for name, field in kind.__pydantic_fields__.items():
        if name in left_out:
            continue

        default = preset_text(field.get_default(call_default_factory=True))
        allowed = "; ".join(filter(None, allowed_values(field.annotation, field.metadata)))
        meaning = meanings.get(name, "")
        for mark in field.metadata:
            if isinstance(mark, OnlyWith):
                meaning += f" Only takes effect {mark}."

        settings.append(Setting(name, default, allowed, meaning))

    return settings


def text_of(kind: type) -> str:
    """Return the description of a whole section from its docstring."""
    return SECTIONS.split(inspect.cleandoc(kind.__doc__ or ""))[0].strip()


def _meanings(described: type) -> dict[str, str]:
    """Return the description of each attribute in a docstring's section "Attributes" or "Args".

    A class that extends another one describes only what it adds.
    """
    above = [base for base in described.__bases__ if is_section(base)]
    meanings: dict[str, str] = {
        name: text for base in above for name, text in _meanings(base).items()
    }
    text = inspect.cleandoc(described.__doc__ or "")
    name = ""
    for line in "\n".join(SECTIONS.split(text)[1:]).split("\n"):
        if entry := re.match(r" {4}(\w+(?:, \w+)*): (.*)", line):
            name = entry[1]
            meanings |= dict.fromkeys(name.split(", "), entry[2])
        elif name and line.startswith(" " * 8):
            meanings |= {one: f"{meanings[one]} {line.strip()}" for one in name.split(", ")}
        else:
            name = ""

    return meanings


def preset_text(value: Any) -> str:
    """Return a value as a preset writes it."""
    if value is None:
        return '"none"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(preset_text, value))}]"
    if isinstance(value, float):
        return f"{value:g}"

    return str(value)


def described_settings(config: RunConfig) -> Iterator[tuple[str, Setting, str]]:
    """Yield name, description and value of every setting, each as `--set` writes it."""

    def of(prefix: str, part: Any) -> Iterator[tuple[str, Setting, str]]:
        for one in settings_of(type(part)):
            if one.name != "preset":  # that of --preset
                yield f"{prefix}{one.name}", one, preset_text(getattr(part, one.name))
        for name in sections_of(type(part)):
            yield from of(f"{prefix}{name}.", getattr(part, name))

    yield from of("", config)
    for name, vocabulary in config.vocabulary.items():
        yield from of(f"vocabulary.{name}.", vocabulary)

    for model in config.models:
        yield from of(f"models.{model.name}.", model)
