"""Write the reference pages of all settings and commands from the code: `python -m reviewlm.reference`.

`docs/reference/settings.md` is made of the configuration's classes and their docstrings, `docs/reference/cli.md` of the
commands and their help. A test fails when a page is older than the code.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from pydantic.fields import FieldInfo

from core.config.run_config import RunConfig
from core.config.section import Section
from models.allowed import allowed_values, range_in_words
from models.options import FIRST_RELEASE, OnlyWith, Since
from models.specs import KINDS, VocabularySpec

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"
FIXED = {"kind": "Kind of the model."}
ROOT = "reviewlm"
EXAMPLE = re.compile(r"^ +(reviewlm .*)$", re.MULTILINE)


def settings_page() -> str:
    """Return the page of all settings in Markdown: name, default, values and range, first release, meaning."""
    lines = [
        "# Settings", "",
        "Every setting of a preset (TOML) and of `--set section.name=value`. Made from the code by",
        "`python -m reviewlm.reference`; do not edit. *since* is the first release with the setting.", "",
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
    shown = [name for name in section.model_fields if name not in inner and name not in left_out]
    yield from _table(section, shown, meanings)
    for name, field in inner.items():
        yield from _section(f"{prefix}.{name}" if prefix else name, field.annotation)  # type: ignore[arg-type]


def _dataclass(title: str, spec: type, prefix: str = "", shown: set[type] | None = None) -> Iterator[str]:
    """Yield the table of a model's options, then those of its sections that were not shown yet."""
    shown = set() if shown is None else shown
    hints, meanings = get_type_hints(spec), FIXED | _meanings(spec)
    inner: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    yield from _heading(title, spec)
    yield from _table(spec, [entry.name for entry in fields(spec) if entry.name not in inner], meanings)
    for name, section in inner.items():
        if section not in shown:
            shown.add(section)
            yield from _dataclass(f"{prefix or title}.{name}", section, shown=shown)


def _heading(title: str, described: type) -> list[str]:
    text = inspect.cleandoc(described.__doc__ or "")
    return [f"## {title}", "", re.split(r"\n(?:Attributes|Args):\n", text)[0].strip(), ""]


def _table(described: Any, names: Iterable[str], meanings: Mapping[str, str]) -> Iterator[str]:
    """Yield one row per option of a section or a model: default, values and range, first release, meaning."""
    yield from ("| setting | default | values and range | since | meaning |", "|---|---|---|---|---|")
    for name in names:
        field = described.__pydantic_fields__[name]
        default = f"`{_written(field.get_default(call_default_factory=True))}`"
        effect = next((f" Only takes effect {mark}." for mark in field.metadata if isinstance(mark, OnlyWith)), "")
        yield _row(f"`{name}`", default, _values(field.annotation, field.metadata), since(field),
                   meanings.get(name, "") + effect)  # fmt: skip
    yield ""


def since(field: FieldInfo) -> str:
    """Return the first release that has an option."""
    return next((mark.version for mark in field.metadata if isinstance(mark, Since)), FIRST_RELEASE)


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
    """Say what values a type has, and their range."""
    return "; ".join(filter(None, allowed_values(kind, metadata)))


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
    kind = option.type_descriptor.annotation
    repeated = get_origin(kind) is list
    values = allowed_values(get_args(kind)[0] if repeated else kind)[0].removesuffix(", or 'none' to do without")
    limits = range_in_words(ge=option.min, le=option.max)
    default = "required" if option.required else "" if option.default in (None, "", False) else f"`{option.default}`"
    return _row(given, default, "; ".join(filter(None, (values, limits))), getattr(option, "help", "") or "")


PAGES = {"settings.md": settings_page, "cli.md": cli_page}


def main() -> None:
    """Write the pages."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
