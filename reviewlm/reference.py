"""Write the reference pages of all settings and commands from the code; `make docs` does it before it builds the site.

The page of settings is made of the configuration's classes and their docstrings, the page of commands of their help.
They are built, not committed.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

from core.config.run_config import RunConfig
from models.options import allowed_values, range_in_words
from models.specs import KINDS, VocabularySpec
from reviewlm.described_settings import sections_of, settings_of, text_of

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"
ROOT = "reviewlm"
EXAMPLE = re.compile(r"^ +(reviewlm .*)$", re.MULTILINE)


def settings_page() -> str:
    """Return the page of all settings in Markdown: name, default, values and range, meaning."""
    lines = [
        "# Settings", "",
        "Every setting of a preset (TOML) and of `--set section.name=value`.", "",
    ]  # fmt: skip
    for title, kind in _sections():
        lines += [f"## {title}", "", text_of(kind), ""]
        lines += ["| setting | default | values and range | meaning |", "|---|---|---|---|"]
        lines += [_row(f"`{one.name}`", f"`{one.default}`", one.values, one.meaning) for one in settings_of(kind)]
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def _sections() -> Iterator[tuple[str, type]]:
    """Yield title and class of every section: of the configuration, the vocabularies, the models by kind; each once."""
    shown: set[type] = set()

    def of(title: str, prefix: str, kind: type) -> Iterator[tuple[str, type]]:
        if kind not in shown:
            shown.add(kind)
            yield title, kind
            for name, inner in sections_of(kind).items():
                place = f"{prefix}.{name}".lstrip(".")
                yield from of(place, place, inner)

    yield from of("Top level", "", RunConfig)
    yield from of("vocabulary.NAME", "vocabulary.NAME", VocabularySpec)
    for spec in dict.fromkeys(spec for spec, _ in KINDS.values()):
        kinds = ", ".join(name for name, (other, _) in KINDS.items() if other is spec)
        yield from of(f"models.NAME with kind {kinds}", "models.NAME", spec)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def cli_page() -> str:
    """Return the page of all commands in Markdown: usage, help, options with their defaults."""
    from reviewlm import cli

    return "\n".join(["# Commands", "", *_commands(ROOT, cli.command())]).rstrip("\n") + "\n"


def _commands(path: str, command: Any) -> Iterator[str]:
    inside = getattr(command, "commands", {})
    if path != ROOT:
        text, _, examples = inspect.cleandoc(command.help or "").partition("\b")
        yield from (f"## {path}", "", text.strip(), "")
        if examples:
            yield from ("```sh parsed", *EXAMPLE.findall(examples), "```", "")
    if not inside:
        shown = [option for option in command.params if not getattr(option, "hidden", False)]
        options = [option for option in shown if option.name != "help"]
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


def write_pages(folder: Path = FOLDER) -> None:
    """Write the pages into a folder."""
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")
