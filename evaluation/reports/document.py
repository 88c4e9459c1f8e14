"""Represent a page as data and render it as one self-contained HTML file or as Markdown; all text is escaped.

    page = Page("Title", "Lead", sections=[PageSection("Models", ["A paragraph.", PageTable.of(rows)])])
    Path("page.html").write_text(page.to_html(), encoding="utf-8")

`templates/page.html` and `templates/page.css` define the look. The page can be mailed and opened without a network.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reviewlm.core.errors import as_html
from reviewlm.core.figures import Amount
from reviewlm.core.output import fence_text, literal, table_row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).parent / "templates"
PALETTE = ("#0b57d0", "#d55e00", "#009e73", "#ee88dd", "#661100", "#774477", "#220022", "#001166")
ON_DARK = ("#8ab4f8", "#ff9d5c", "#00ffcc", "#dd0066", "#bb5533", "#9933ff", "#eeff00", "#6666cc")
"""Colours on a light and on a dark page; the first one is the accent of pages, and the winner's.

Any two are at least 25 apart in CIELAB, as seen with full colour vision and by protanopes, deuteranopes and tritanopes
(Machado et al. 2009)."""


@dataclass(frozen=True)
class PageText:
    """A text that is more than a paragraph; *kind* is "good", "bad" or "heading"."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Code:
    """Preformatted text, such as commands or a configuration."""

    text: str
    language: str = ""


@dataclass(frozen=True)
class Quote:
    """A quotation; *head* is shown above it."""

    text: str
    head: str = ""


@dataclass(frozen=True)
class Picture:
    """A drawing (`canvas.svg_of`), which is not escaped, with a title above it and a caption below it."""

    svg: str
    title: str = ""
    caption: str = ""


@dataclass(frozen=True)
class Link:
    """A link that leads out of the page; an address that is neither a web page nor a file beside the page is dropped.

    Links in a list stand in one line.
    """

    text: str
    address: str

    @property
    def safe(self) -> str:
        """The address; "" for one that a browser would run or that names no place, e.g. `javascript:`."""
        allowed = (
            self.address.startswith(("http://", "https://"))
            or ":" not in self.address.partition("/")[0]
        )
        if allowed and not self.address.startswith("//"):
            return self.address
        return ""


@dataclass(frozen=True)
class PageTable:
    """Rows of texts and numbers under a header.

    The columns *numbers* are aligned to the right: by default, all but the first. The row *chosen* stands out.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""
    numbers: Collection[int] | None = None
    chosen: int | None = None

    @classmethod
    def of(
        cls,
        rows: Sequence[Mapping[str, Any]],
        caption: str = "",
        chosen: int | None = None,
    ) -> PageTable:
        """Return a table with the keys of the first row as its header; numbers and `Amount` are aligned right."""
        header = []
        if rows:
            header = list(rows[0])

        cells = [list(row.values()) for row in rows]
        numeric = {column for row in cells for column, cell in enumerate(row) if _is_number(cell)}
        return cls(
            header,
            cells,
            caption,
            numeric,
            chosen,
        )

    @classmethod
    def facts(
        cls,
        values: Mapping[str, Any],
        header: Sequence[str] = ("what", "value"),
        caption: str = "",
    ) -> PageTable:
        """Return a table of names and values, all aligned to the left."""
        return cls(header, list(values.items()), caption, ())

    def __bool__(self) -> bool:
        return bool(self.rows)

    def is_number(self, column: int) -> bool:
        """Return whether a column is aligned to the right."""
        if self.numbers is None:
            return column > 0
        return column in self.numbers

    def to_markdown(self) -> str:
        """Return the table as Markdown, its caption above it."""
        rule = ["---:" if self.is_number(column) else "---" for column in range(len(self.header))]
        head = _markdown_row(self.header)
        rows = [_markdown_row(row) for row in self.rows]
        above = []
        if self.caption:
            above = [literal(self.caption), ""]

        return "\n".join([*above, head, f"| {' | '.join(rule)} |", *rows])


def _markdown_row(cells: Sequence[Any]) -> str:
    return table_row([as_text(cell) for cell in cells])


@dataclass(frozen=True)
class PageSection:
    """A heading and its parts; *finding* stands beside the heading. A section within a section is folded.

    A report folds its sections too: the findings are what a reader sees first.
    """

    title: str
    parts: Sequence[Part]
    anchor: str = ""
    finding: str = ""


Part: TypeAlias = (
    str
    | PageText
    | Code
    | Quote
    | Picture
    | PageTable
    | PageSection
    | Sequence[str]
    | Sequence["PageTable | Picture"]
    | Sequence[Quote]
    | Sequence[Link]
)
"""What a section holds. A string is a paragraph; strings in a list are its points; tables and pictures in a list stand
side by side, and so do quotations."""


@dataclass(frozen=True)
class Page:
    """A document: its title, the text below it, and its content.

    *opening* is shown above the first section. *look* selects the style: "report" (sections are folded), "card" or "".
    """

    title: str
    lead: str
    sections: Sequence[PageSection] = ()
    opening: Sequence[Part] = ()
    look: str = ""

    def to_html(self) -> str:
        """Return one page with embedded pictures, for screens of any width and for paper."""
        return render_page("page.html", page=self)

    def to_markdown(self) -> str:
        """Return the page without pictures, links and quotations; sections without a finding or table are left out."""
        parts = [f"# {literal(self.title)}", literal(self.lead)]
        parts += map(_to_markdown, self.opening)
        parts += [_to_markdown(section) for section in self.sections]
        return "\n\n".join(filter(None, parts)) + "\n"


def _to_markdown(part: Part, level: int = 2) -> str:
    match part:
        case str(text) | PageText(text):
            return literal(text)
        case PageTable():
            if part.rows:
                return part.to_markdown()
            return ""
        case Code(text, language):
            return fence_text(text, language)
        case PageSection(title, parts, _, finding):
            inner = [(one, _to_markdown(one, level + 1)) for one in parts]
            whole = finding or any(text for one, text in inner if not isinstance(one, str))
            head = f"{'#' * level} {literal(title)}"
            if whole:
                return "\n\n".join(
                    filter(None, [head, literal(finding), *(text for _, text in inner)])
                )
            return ""
        case list() | tuple() if part and isinstance(part[0], str):
            return "\n".join(f"- {literal(point)}" for point in part)
        case list() | tuple():
            return "\n\n".join(filter(None, map(_to_markdown, part)))

    return ""


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG image; equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(
        buffer,
        format="png",
        dpi=120,
        metadata={"Software": None},
    )
    return buffer.getvalue()


def as_text(value: Any) -> str:
    """Return a value as a page shows it: "" for None, thousands separated, four digits of a fraction."""
    if not _is_number(value) or isinstance(value, Amount):
        if value is None:
            return ""
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}"


def _is_number(value: Any) -> bool:
    return isinstance(value, Amount | int | float) and not isinstance(value, bool)


def escape(value: Any) -> Markup:
    """Return a value escaped for HTML, also for quoted attributes; direction and control characters become visible."""
    if isinstance(value, Markup):
        return value
    return Markup(as_html(as_text(value)))


def render_page(template: str, **values: Any) -> str:
    """Return a page made from a file of `templates/`; `escape` is applied to whatever it prints."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["kind"] = lambda part: type(part).__name__
    environment.filters["drawing"] = lambda picture: Markup(picture.svg)
    environment.globals |= {"palette": PALETTE, "on_dark": ON_DARK}
    return environment
