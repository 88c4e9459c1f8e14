"""Write the reference pages of all settings and commands from the code; `make docs` does it before it builds the site.

The page of settings is made of the configuration's classes and their docstrings, the page of commands of their help.
They are built, not committed.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from reviewlm.core.config.run_config import RunConfig
from reviewlm.described_settings import sections_of, settings_of, text_of
from reviewlm.models.specs import KINDS, VocabularySpec

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"
ROOT = "reviewlm"
EXAMPLES = re.compile(r"^Examples?:\n((?: .*\n)+)", re.MULTILINE)


def settings_page() -> str:
    """Return the page of all settings in Markdown: name, default, values and range, meaning."""
    lines = [
        "# Settings",
        "",
        "Every setting of a preset (TOML) and of `--set section.name=value`.",
        "",
    ]
    for title, kind in _sections():
        lines += [f"## {title}", "", text_of(kind), ""]
        lines += ["| setting | default | values and range | meaning |", "|---|---|---|---|"]
        lines += [
            _row(f"`{one.name}`", f"`{one.default}`", one.values, one.meaning)
            for one in settings_of(kind)
        ]
        lines.append("")

    return "\n".join(lines).rstrip("\n") + "\n"


def _sections() -> Iterator[tuple[str, type]]:
    """Yield title and class of every section: of the configuration, the vocabularies, the models by kind; each once."""
    shown: set[type] = set()

    def of(
        title: str,
        prefix: str,
        kind: type,
    ) -> Iterator[tuple[str, type]]:
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
    """Return the page of all commands in Markdown, as typer writes it; the examples of a command are code."""
    import typer
    from typer.cli import get_docs_for_click

    from reviewlm import cli

    root = cli.command()
    page = get_docs_for_click(
        obj=root,
        ctx=typer.Context(root),
        name=ROOT,
        title="Commands",
    )
    return EXAMPLES.sub(lambda examples: f"```sh\n{textwrap.dedent(examples[1])}```\n", page)


PAGES = {"settings.md": settings_page, "cli.md": cli_page}


def write_pages(folder: Path = FOLDER) -> None:
    """Write the pages into a folder."""
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")
