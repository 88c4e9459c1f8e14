"""Represent a report as data, and render it as one self-contained HTML page or as Markdown; all text is escaped."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.markdown import literal
from evaluation.reports.page import escape, page, paragraph, section

STYLE = """
.tiles, .quotes { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); }
.quotes { grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); }
.tile { border: 1px solid #ddd; border-radius: .5rem; padding: .6rem .8rem; }
.tile b { display: block; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
.tile span, caption { color: #555; font-size: .85rem; } caption { text-align: left; padding-bottom: .25rem; }
.tables { display: flex; flex-wrap: wrap; gap: 1rem 3rem; align-items: flex-start; margin: .75rem 0; }
.tables table { max-width: 100%; } th.number { text-align: right; } td { overflow-wrap: anywhere; min-width: 4rem; }
figure img { display: block; width: 100%; max-width: 50rem; }
.quotes blockquote { margin: 0; font-size: .9rem; overflow-wrap: anywhere; } blockquote b { display: block; }
p, li { max-width: 46rem; }
@media print { figure, .tile, blockquote, tr { break-inside: avoid; } }
""".strip()


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; *words* aligns all columns to the left, otherwise all but the first are numbers."""

    header: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    words: bool = False


@dataclass(frozen=True)
class Picture:
    """A PNG file, and a description of its content."""

    path: Path
    alt: str


@dataclass(frozen=True)
class Section:
    """A heading and its content, in the order of the fields."""

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    quotes: Sequence[tuple[str, str]] = ()
    points: Sequence[str] = ()


@dataclass(frozen=True)
class Page:
    """A report: title, lead sentence, key figures as (value, label), sections."""

    title: str
    lead: str
    tiles: Sequence[tuple[str, str]]
    sections: Sequence[Section] = field(default_factory=tuple)

    def to_html(self) -> str:
        """Return one page with embedded pictures, for screens of any width and for paper."""
        tiles = "".join(
            f"<div class=tile><b>{escape(value)}</b><span>{escape(what)}</span></div>" for value, what in self.tiles
        )
        parts = [f"<style>{STYLE}</style>", f"<div class=tiles>{tiles}</div>", *map(_section_html, self.sections)]
        return page(self.title, self.lead, parts)

    def to_markdown(self) -> str:
        """Return the page without pictures and quotations."""
        glance = Table(("figure", "value"), [(what, value) for value, what in self.tiles])
        parts = [f"# {literal(self.title)}", literal(self.lead), _table_markdown(glance)]
        for part in self.sections:
            if part.tables or part.points:
                parts += [f"## {literal(part.title)}", literal(part.text)]
                parts += [_table_markdown(table) for table in part.tables]
                parts += ["\n".join(f"- {literal(point)}" for point in part.points)]
        return "\n\n".join(filter(None, parts)) + "\n"


def _section_html(part: Section) -> str:
    parts = [paragraph(part.text)] if part.text else []
    parts += [f"<div class=tables>{''.join(map(_table_html, part.tables))}</div>"] if part.tables else []
    parts += map(_picture_html, part.pictures)
    if part.quotes:
        quotes = "".join(f"<blockquote><b>{escape(head)}</b>{escape(text)}</blockquote>" for head, text in part.quotes)
        parts.append(f"<div class=quotes>{quotes}</div>")
    if part.points:
        parts.append("<ul>" + "".join(f"<li>{escape(point)}</li>" for point in part.points) + "</ul>")
    return section(part.title, *parts)


def _table_html(table: Table) -> str:
    kinds = ["" if table.words or not column else " class=number" for column in range(len(table.header))]

    def row(cells: Sequence[str], tag: str) -> str:
        pairs = zip(kinds, cells, strict=True)
        return "<tr>" + "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in pairs) + "</tr>"

    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    body = "".join(row(cells, "td") for cells in table.rows)
    return f"<table>{caption}<thead>{row(table.header, 'th')}</thead><tbody>{body}</tbody></table>"


def _picture_html(picture: Picture) -> str:
    data = base64.b64encode(picture.path.read_bytes()).decode()
    return f'<figure><img alt="{escape(picture.alt)}" src="data:image/png;base64,{data}"></figure>'


def _table_markdown(table: Table) -> str:
    rule = ["---" if table.words or not column else "---:" for column in range(len(table.header))]
    rows = [[*map(literal, table.header)], rule, *([*map(literal, row)] for row in table.rows)]
    text = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{literal(table.caption)}\n\n{text}" if table.caption else text
