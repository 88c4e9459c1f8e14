"""Write the reference pages of all settings and commands from the code: `python -m reviewlm.reference`.

`docs/reference/settings.md` is made of the configuration's classes and their docstrings, `docs/reference/cli.md` of the
commands and their help. A test fails when a page is older than the code.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic.fields import FieldInfo

from core.config.run_config import RunConfig
from core.config.section import Section
from models.specs import KINDS, VocabularySpec

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"
PLAIN = {int: "whole number", float: "number", bool: "true or false", str: "text", NoneType: '"none"', Path: "path"}
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
FIXED = {"kind": "Kind of the model."}
ROOT = "reviewlm"
EXAMPLE = re.compile(r"^ +(reviewlm .*)$", re.MULTILINE)


def settings_page() -> str:
    """Return the page of all settings in Markdown: name, default, values, meaning."""
    lines = [
        "# Settings", "",
        "Every setting of a preset (TOML) and of `--set section.name=value`. Made from the code by",
        "`python -m reviewlm.reference`; do not edit.", "",
        *_section("", RunConfig, ("vocabulary", "models")),
        *_dataclass("vocabulary.NAME", VocabularySpec),
    ]
    kinds: dict[type, list[str]] = {}
    for kind, (spec, _) in KINDS.items():
        kinds.setdefault(spec, []).append(kind)
    shown: set[type] = set()
    for spec, names in kinds.items():
        lines += _dataclass(f"models.NAME with kind {', '.join(names)}", spec, "models.NAME", shown)
    return "\n".join(lines).rstrip("\n") + "\n"


def _section(prefix: str, section: type[Section], left_out: Iterable[str] = ()) -> Iterator[str]:
    """Yield the table of a section, then those of the sections in it."""
    meanings = _meanings(section)
    inner = {name: field for name, field in section.model_fields.items() if _is_section(field.annotation)}
    yield from _heading(prefix or "Top level", section)
    rows = [
        (name, field.get_default(call_default_factory=True), _values(field.annotation, field.metadata),
         meanings.get(name))
        for name, field in section.model_fields.items()
        if name not in inner and name not in left_out
    ]  # fmt: skip
    yield from _table(rows)
    for name, field in inner.items():
        yield from _section(f"{prefix}.{name}" if prefix else name, field.annotation)  # type: ignore[arg-type]


def _dataclass(title: str, spec: type, prefix: str = "", shown: set[type] | None = None) -> Iterator[str]:
    """Yield the table of a model's options, then those of its sections that were not shown yet."""
    shown = set() if shown is None else shown
    hints, meanings = get_type_hints(spec, include_extras=True), _meanings(spec)
    inner = {entry.name: hints[entry.name] for entry in fields(spec) if is_dataclass(hints[entry.name])}
    yield from _heading(title, spec)
    rows = [
        (entry.name, entry.default if entry.default is not MISSING else None, _values(hints[entry.name], ()),
         meanings.get(entry.name, FIXED.get(entry.name)))
        for entry in fields(spec) if entry.name not in inner
    ]  # fmt: skip
    yield from _table(rows)
    for name, section in inner.items():
        if section not in shown:
            shown.add(section)
            yield from _dataclass(f"{prefix or title}.{name}", section, shown=shown)


def _heading(title: str, described: type) -> list[str]:
    text = inspect.cleandoc(described.__doc__ or "")
    return [f"## {title}", "", re.split(r"\n(?:Attributes|Args):\n", text)[0].strip(), ""]


def _table(rows: Iterable[tuple[str, Any, str, str | None]]) -> list[str]:
    head = ["| setting | default | values | meaning |", "|---|---|---|---|"]
    return head + [_row(f"`{name}`", f"`{_written(default)}`", values, meaning or "")
                   for name, default, values, meaning in rows] + [""]  # fmt: skip


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _meanings(described: type) -> dict[str, str]:
    """Return what a docstring says of each attribute in its section "Attributes" or "Args"."""
    text = inspect.cleandoc(described.__doc__ or "")
    found: dict[str, str] = {}
    name = ""
    for line in "\n".join(re.split(r"\n(?:Attributes|Args):\n", text)[1:]).split("\n"):
        if entry := re.match(r" {4}(\w+(?:, \w+)*): (.*)", line):
            name = entry[1]
            found |= dict.fromkeys(name.split(", "), entry[2])
        elif name and line.startswith(" " * 8):
            found |= {one: f"{found[one]} {line.strip()}" for one in name.split(", ")}
        else:
            name = ""
    return found


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _values(kind: Any, metadata: Iterable[Any]) -> str:
    """Say what values a type has, with its bounds."""
    bounds = [f"{sign} {_written(getattr(each, name))}" for each in _constraints(metadata)
              for name, sign in SIGNS.items() if getattr(each, name, None) is not None]  # fmt: skip
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Annotated:
        said = _values(inside[0], inside[1:])
    elif origin in (Union, UnionType):
        said = " or ".join(dict.fromkeys(_values(one, ()) for one in inside))
    elif origin is Literal:
        said = ", ".join(f'"{one}"' for one in inside)
    elif origin in (tuple, list):
        said = f"list of {_values(inside[0], ())}"
    elif origin is dict:
        said = f"{_values(inside[1], ())} by name"
    else:
        said = PLAIN.get(kind, getattr(kind, "__name__", str(kind)))
    return f"{said} {', '.join(bounds)}".strip()


def _constraints(metadata: Iterable[Any]) -> Iterator[Any]:
    for each in metadata:
        if isinstance(each, FieldInfo):
            yield from _constraints(each.metadata)
        else:
            yield each


def _written(value: Any) -> str:
    """Return a value as a preset writes it."""
    if value is None:
        return '"none"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def cli_page() -> str:
    """Return the page of all commands in Markdown: usage, help, options with their defaults."""
    from reviewlm import cli

    lines = ["# Commands", "", "Made from the code by `python -m reviewlm.reference`; do not edit.", ""]
    return "\n".join([*lines, *_commands(ROOT, cli.command())]).rstrip("\n") + "\n"


def _commands(path: str, command: Any) -> Iterator[str]:
    inside = getattr(command, "commands", {})
    if path != ROOT:
        yield from (f"## {path}", "", inspect.cleandoc(command.help or ""), "")
        if command.epilog:
            yield from ("```sh", *EXAMPLE.findall(command.epilog), "```", "")
    if not inside:
        options = [option for option in command.params if option.name != "help"]
        if options:
            yield from ("| option | default | values | meaning |", "|---|---|---|---|")
            yield from map(_option, options)
            yield ""
    for name, each in inside.items():
        yield from _commands(f"{path} {name}", each)


def _option(option: Any) -> str:
    given = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    if option.param_type_name == "argument":
        given = f"`{option.name.upper()}`"
    values = _values(option.type_descriptor.annotation, ()).removesuffix(' or "none"')
    bounds = [f"{sign} {bound:g}" for sign, bound in (("≥", option.min), ("≤", option.max)) if bound is not None]
    default = "required" if option.required else "" if option.default in (None, "", False) else f"`{option.default}`"
    return _row(given, default, " ".join([values, *bounds]), getattr(option, "help", "") or "")


PAGES = {"settings.md": settings_page, "cli.md": cli_page}


def main() -> None:
    """Write the pages."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
