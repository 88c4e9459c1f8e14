"""Build a self-contained HTML page from texts, tables and figures; it can be mailed and opened without a network."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from core.visible import visible

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; margin: 0 auto; padding: 1.5rem; max-width: 62rem; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
p.lead { color: #444; margin-top: 0; }
p.good { color: #0a6b3d; font-weight: 600; } p.bad { color: #a83a00; font-weight: 600; }
table { border-collapse: collapse; font-size: .9rem; display: block; overflow-x: auto; }
th, td { text-align: left; padding: .25rem .7rem; border-bottom: 1px solid #ddd; vertical-align: top; }
.number { text-align: right; }
td.number { font-variant-numeric: tabular-nums; white-space: pre; }
img { max-width: 100%; height: auto; } figure { margin: 1rem 0; } figcaption { color: #555; font-size: .85rem; }
blockquote { margin: .5rem 0; padding: .4rem .9rem; border-left: 3px solid #bbb; background: #fafafa; }
blockquote { white-space: pre-wrap; }
code, pre { font-size: .85em; overflow-wrap: anywhere; } pre { white-space: pre-wrap; } pre code { font-size: 1em; }
.wide { overflow-x: auto; margin: .8rem 0; } .wide table { display: table; } caption { text-align: left; color: #555; }
nav ul { columns: 14rem; margin: 0; padding-left: 1.2rem; } summary { cursor: pointer; }
@media (max-width: 40rem) { body { padding: .9rem; } .wide img { max-width: none; width: 40rem; }
  td:last-child:not(.number) { min-width: 13rem; } }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; } figure, tr, blockquote { break-inside: avoid; }
  h2, h3 { break-after: avoid; } .wide { overflow: visible; } nav { display: none; }
  table { font-size: 7.5pt; } th, td { padding: .15rem .35rem; }
}
"""


def escape(text: str) -> str:
    """Return raw text escaped for HTML, also for quoted attributes; direction and control characters become visible."""
    return html.escape(visible(text))


class Amount(str):
    """A number as text, with its unit or interval; aligned to the right in a table."""


def page(title: str, lead: str, parts: Iterable[str], style: str = "") -> str:
    """Return a whole HTML document.

    Args:
        title: Plain text, also used as the heading.
        lead: Plain text below it.
        parts: HTML, as returned by the other functions of this module.
        style: CSS of these parts.
    """
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}{style}</style></head>\n'
        f'<body><h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n'
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def section(title: str, *parts: str, anchor: str = "") -> str:
    """Return a heading and its content; *anchor* is the target of links in `contents`."""
    here = f' id="{escape(anchor)}"' if anchor else ""
    return f"<h2{here}>{escape(title)}</h2>\n" + "\n".join(parts)


def contents(titles: Mapping[str, str]) -> str:
    """Return links to sections, by their anchors."""
    links = "".join(f'<li><a href="#{escape(anchor)}">{escape(title)}</a></li>' for anchor, title in titles.items())
    return f'<nav aria-label="Contents"><ul>{links}</ul></nav>'


def folded(summary: str, *parts: str) -> str:
    """Return parts that are hidden until the reader clicks on *summary*."""
    return f"<details><summary>{escape(summary)}</summary>\n" + "\n".join(parts) + "\n</details>"


def listing(text: str) -> str:
    """Return preformatted text, such as a command or a configuration."""
    return f"<pre><code>{escape(text)}</code></pre>"


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph of plain text; *kind* is "", "good" or "bad"."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def table(rows: Sequence[Mapping[str, Any]], caption: str = "") -> str:
    """Return rows as a table with the keys of the first row as its head; numbers are aligned to the right."""
    if not rows:
        return "<p>none</p>"
    head = "".join(f'<th scope="col"{_kind(value)}>{escape(str(name))}</th>' for name, value in rows[0].items())
    body = "".join(f"<tr>{''.join(_cell(value) for value in row.values())}</tr>" for row in rows)
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    # A table that is wider than the screen scrolls within its frame, also by the keyboard.
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption or "table")}"><table>{above}'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(value: Any) -> str:
    if isinstance(value, Amount) or not _kind(value):
        text = "" if value is None else str(value)
    else:
        text = f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
    return f"<td{_kind(value)}>{escape(text)}</td>"


def _kind(value: Any) -> str:
    """Return the attribute that aligns numbers, and the heads of their columns, to the right."""
    number = isinstance(value, Amount | int | float) and not isinstance(value, bool)
    return ' class="number"' if number else ""


def picture(figure: Figure, caption: str) -> str:
    """Return a figure with its caption; the image is embedded in the page."""
    return image(png(figure), caption)


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG image; equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()


def image(content: bytes, caption: str, alt: str = "") -> str:
    """Return an embedded PNG image with its caption; *alt* is the text for screen readers."""
    return (
        f'<figure><div class="wide" tabindex="0"><img alt="{escape(alt or caption)}" '
        f'src="data:image/png;base64,{base64.b64encode(content).decode()}"></div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def quotation(text: str) -> str:
    """Return a text as a quotation."""
    return f"<blockquote>{escape(text)}</blockquote>"
