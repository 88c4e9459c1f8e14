"""One self-contained HTML page out of texts, tables and figures: it can be mailed, and opens without a network."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from matplotlib.figure import Figure

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; margin: 0 auto; padding: 1.5rem; max-width: 62rem; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p.lead { color: #444; margin-top: 0; }
p.good { color: #0a6b3d; font-weight: 600; } p.bad { color: #a83a00; font-weight: 600; }
table { border-collapse: collapse; font-size: .9rem; display: block; overflow-x: auto; }
th, td { text-align: left; padding: .25rem .7rem; border-bottom: 1px solid #ddd; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
img { max-width: 100%; height: auto; } figure { margin: 1rem 0; } figcaption { color: #555; font-size: .85rem; }
blockquote { margin: .5rem 0; padding: .4rem .9rem; border-left: 3px solid #bbb; background: #fafafa; }
blockquote { white-space: pre-wrap; }
code { font-size: .85em; overflow-wrap: anywhere; }
"""


def page(title: str, lead: str, parts: Iterable[str]) -> str:
    """Return a whole HTML document.

    Args:
        title: Plain text, also the heading.
        lead: Plain text below it.
        parts: HTML, such as the other functions of this module make.
    """
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
        f'<body><h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n'
        + "\n".join(parts) + "\n</body></html>\n"
    )


def section(title: str, *parts: str) -> str:
    """Return a heading and what stands below it."""
    return f"<h2>{escape(title)}</h2>\n" + "\n".join(parts)


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph of plain text; *kind* is "", "good" or "bad"."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as a table with the keys of the first as its head; numbers stand to the right."""
    if not rows:
        return "<p>none</p>"
    head = "".join(f"<th>{escape(str(name))}</th>" for name in rows[0])
    body = "".join(f"<tr>{''.join(_cell(value) for value in row.values())}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"<td>{escape('' if value is None else str(value))}</td>"
    return f'<td class="number">{value:,}</td>' if isinstance(value, int) else f'<td class="number">{value:,.4g}</td>'


def picture(figure: Figure, caption: str) -> str:
    """Return a figure with its caption, the image inside the page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    image = base64.b64encode(buffer.getvalue()).decode()
    text = escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{image}"><figcaption>{text}</figcaption></figure>'


def quotation(text: str) -> str:
    """Return somebody's words."""
    return f"<blockquote>{escape(text)}</blockquote>"
