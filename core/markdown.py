"""Escape raw text for Markdown so that it is shown unchanged.

Prefect and MLflow render our text as Markdown, and as HTML pages. If a review contains a link, an image, a heading, the
bar of a table or a tag, the page must show exactly what the reviewer typed.
"""

from __future__ import annotations

import re

from core.errors import visible

_SIGNS = re.compile(r"([\\`*_\[\]|~$])")
_AT_THE_BEGINNING = re.compile(r"^(\s*)(?:([#+=-])(?=[\s#+=-]|$)|(\d{1,9})([.)])(?=\s|$))")
_ADDRESS = re.compile(r"(?i)\b(https?|ftp|mailto|xmpp):|\bwww\.")


def literal(text: str) -> str:
    """Return text on one line, escaped so that Markdown starts no tag, link, emphasis, list or table cell in it."""
    text = " ".join(visible(text).splitlines())
    text = _SIGNS.sub(r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
    text = _ADDRESS.sub(lambda found: f"{found[0][:-1]}\\{found[0][-1]}", text)
    return _AT_THE_BEGINNING.sub(lambda found: f"{found[1]}{found[3] or ''}\\{found[2] or found[4]}", text)


def code(text: str) -> str:
    """Return text on one line as inline code."""
    return f"`{' '.join(visible(text).splitlines()).replace('`', chr(39)).strip() or ' '}`"


def fenced(text: str, language: str = "") -> str:
    """Return a text as a block of code, between fences that are longer than each run of backticks in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def quoted(text: str) -> str:
    """Return a text as a block quotation, line by line."""
    return "\n".join(f"> {literal(line)}".rstrip() for line in text.split("\n"))


def table_row(cells: list[str]) -> str:
    """Return a table row whose cells are raw text."""
    return f"| {' | '.join(map(literal, cells))} |"
