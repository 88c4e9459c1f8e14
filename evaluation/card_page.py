"""A report as data, and as one HTML page that needs nothing else, or as Markdown. All text is escaped."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

STYLE = """
:root { color-scheme: light; --line: #d9d9d9; --soft: #595959; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 4rem; color: #1a1a1a; background: #fff;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif; }
h1 { font-size: 1.75rem; margin: 0 0 .25rem; } h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; }
p { margin: .5rem 0; max-width: 46rem; } .lead, figcaption, caption { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .75rem; margin: 1.25rem 0; }
.tile { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .8rem; }
.tile b { display: block; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: .85rem; }
.scroll { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .25rem; }
th, td { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th:first-child, td:first-child, .left td, .left th { text-align: left; overflow-wrap: anywhere; }
th { font-weight: 600; } code { font-size: .85em; overflow-wrap: anywhere; }
figure { margin: 1rem 0; } figure img { display: block; width: 100%; max-width: 50rem; height: auto; }
.quotes { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: .75rem; }
blockquote { margin: 0; padding: .6rem .8rem; border-left: 4px solid var(--line); background: #fafafa;
  font-size: .9rem; white-space: pre-wrap; overflow-wrap: anywhere; }
blockquote b { display: block; }
li { max-width: 46rem; }
@media print { body { max-width: none; } h2, figure, .tile, blockquote { break-inside: avoid; } }
""".strip()


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; *words* aligns all columns to the left, else all but the first are numbers."""

    header: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    words: bool = False


@dataclass(frozen=True)
class Picture:
    """A PNG file, what it shows in words, and a caption."""

    path: Path
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it, in this order."""

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    quotes: Sequence[tuple[str, str]] = ()
    points: Sequence[str] = ()


@dataclass(frozen=True)
class Page:
    """A report: title, a sentence, figures at a glance as (value, what), sections."""

    title: str
    lead: str
    tiles: Sequence[tuple[str, str]]
    sections: Sequence[Section] = field(default_factory=tuple)

    def to_html(self) -> str:
        """Return one page with its pictures inside, for screens of any width and for paper."""
        tiles = "".join(f"<div class=tile><b>{escape(value)}</b><span>{escape(what)}</span></div>"
                        for value, what in self.tiles)
        return (
            "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n"
            '<meta name=viewport content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(self.title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n"
            f"<h1>{escape(self.title)}</h1>\n<p class=lead>{escape(self.lead)}</p>\n<div class=tiles>{tiles}</div>\n"
            + "\n".join(_section_html(section) for section in self.sections)
            + "\n</body>\n</html>\n"
        )

    def to_markdown(self) -> str:
        """Return the page without pictures and quotations."""
        glance = Table(("figure", "value"), [(what, value) for value, what in self.tiles])
        parts = [f"# {_plain(self.title)}", _plain(self.lead), _table_markdown(glance)]
        for section in self.sections:
            if section.tables or section.points:
                parts += [f"## {_plain(section.title)}", _plain(section.text)]
                parts += [_table_markdown(table) for table in section.tables]
                parts += ["\n".join(f"- {_plain(point)}" for point in section.points)]
        return "\n\n".join(part for part in parts if part) + "\n"


def _section_html(section: Section) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>"]
    parts += [f"<p>{escape(section.text)}</p>"] if section.text else []
    parts += [_table_html(table) for table in section.tables]
    parts += [_picture_html(picture) for picture in section.pictures]
    if section.quotes:
        quotes = "".join(f"<blockquote><b>{escape(head)}</b>{escape(text)}</blockquote>"
                         for head, text in section.quotes)
        parts.append(f"<div class=quotes>{quotes}</div>")
    if section.points:
        parts.append("<ul>" + "".join(f"<li>{escape(point)}</li>" for point in section.points) + "</ul>")
    return "\n".join(parts)


def _table_html(table: Table) -> str:
    kind = " class=left" if table.words else ""
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    body = f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody>"
    return f"<div class=scroll><table{kind}>{caption}{body}</table></div>"


def _picture_html(picture: Picture) -> str:
    data = base64.b64encode(picture.path.read_bytes()).decode()
    caption = f"<figcaption>{escape(picture.caption)}</figcaption>" if picture.caption else ""
    return f'<figure><img alt="{escape(picture.alt)}" src="data:image/png;base64,{data}">{caption}</figure>'


def _table_markdown(table: Table) -> str:
    lines = [table.header, ["---" if table.words or not column else "---:" for column in range(len(table.header))]]
    text = "\n".join("| " + " | ".join(map(_plain, row)) + " |" for row in lines[:1])
    rule = "|" + "|".join(lines[1]) + "|"
    rows = "\n".join("| " + " | ".join(map(_plain, row)) + " |" for row in table.rows)
    head = f"{_plain(table.caption)}\n\n" if table.caption else ""
    return f"{head}{text}\n{rule}\n{rows}"


def _plain(text: str) -> str:
    """Return text that Markdown shows as it stands."""
    escaped = escape(text, quote=False).replace("\\", "\\\\").replace("\n", " ")
    for sign in "|*_`[]":
        escaped = escaped.replace(sign, f"\\{sign}")
    return escaped
