"""Read the code blocks of README and pages, and cut shell blocks into commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from reviewlm import reference

ROOT = Path(__file__).resolve().parents[2]
GENERATED = {reference.FOLDER / name for name in reference.PAGES}
"""Pages that `make docs` writes; their commands are those of the program itself."""
PAGES = [
    ROOT / "README.md",
    ROOT / "ARCHITECTURE.md",
    *sorted(set((ROOT / "docs").rglob("*.md")) - GENERATED),
]
WAYS = {
    "sh": ("run", "fails", "parsed"),
    "python": ("run", "parsed"),
    "toml": ("preset",),
    "text": ("output",),
    "json": ("output",),
}
"""By language, how a block may be checked; docs/development/index.md explains each."""
FENCE = re.compile(r"^( *)(`{3,})(.*)$")
VARIABLE = re.compile(r"[A-Z_]+=")
BETWEEN = ("|", "&&", ";")


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, first line, language, the word after it, and its text."""

    page: str
    line: int
    language: str
    way: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command of a shell block: variables set for it, its words, its standard input, the files that it writes."""

    variables: dict[str, str]
    words: list[str]
    stdin: str = ""
    file: str = ""


def blocks(pages: list[Path] = PAGES) -> list[Block]:
    """Return the fenced blocks; directives of the site such as {toctree} are not code."""
    found = []
    for page in pages:
        lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), start=1))
        for number, line in lines:
            if (fence := FENCE.match(line)) and not fence[3].startswith("{"):
                inside = []
                for _, each in lines:
                    if each.strip() == fence[2]:
                        break
                    inside.append(each)
                language, _, way = fence[3].partition(" ")
                text = dedent("\n".join(inside)) + "\n"
                found.append(
                    Block(
                        page.relative_to(ROOT).as_posix(),
                        number,
                        language,
                        way,
                        text,
                    )
                )
            elif fence:
                next(None for _, each in lines if each.strip() == fence[2])
    return found


def commands(text: str) -> Iterator[Command]:
    """Yield the commands of a shell block, each with what a pipe or a here-document gives it."""
    lines = iter(text.splitlines())
    for line in lines:
        document = ""
        while True:  # a line goes on after a backslash and inside quotes
            try:
                words = _words(line.replace("\\\n", " "))
            except ValueError:
                line += "\n" + next(lines)
                continue
            if not line.endswith("\\"):
                break
            line += "\n" + next(lines)
        if end := re.search(r"<<'(\w+)'$", line):
            document = "\n".join(iter(lambda: next(lines), end[1])) + "\n"
        yield from _of_line(words, document)


def _words(line: str) -> list[str]:
    split = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    split.whitespace_split = True
    return list(split)


def _of_line(words: list[str], document: str) -> Iterator[Command]:
    piped = document
    while words:
        end = next((place for place, word in enumerate(words) if word in BETWEEN), len(words))
        one, separator, words = words[:end], words[end : end + 1], words[end + 1 :]
        variables = {}
        while one and VARIABLE.match(one[0]):
            name, _, variables[name] = one.pop(0).partition("=")
        file = one[one.index(">") + 1] if ">" in one else ""
        stop = next((place for place, word in enumerate(one) if word[0] in "<>"), len(one))
        if one[:1] == ["echo"] and separator == ["|"]:
            piped = " ".join(one[1:stop]) + "\n"
        elif one:
            yield Command(variables, [word for word in one[:stop] if word != "…"], piped, file)
            piped = document
