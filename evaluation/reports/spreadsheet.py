"""Write tables as CSV that a spreadsheet reads as text and numbers, never as formulas.

Excel and similar programs run cells that begin with =, +, - or @, also after a tab or a line break, or with a
full-width form of these signs. Such a text gets an apostrophe in front, which spreadsheets read as "this is text".
Numbers are not changed.
"""

from __future__ import annotations

import re

import polars as pl

_FORMULA = re.compile(r"[\s\u200b\ufeff\x00]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+|inf)(?:[eE][+-]?\d+)?%?")


def csv_text(table: pl.DataFrame) -> str:
    """Return a table as CSV; texts and column names that a spreadsheet would run are marked as text."""
    texts = [name for name, kind in table.schema.items() if kind in (pl.String, pl.Categorical, pl.Enum)]
    marked = table.with_columns(
        pl.col(name).cast(pl.String).map_elements(as_text, return_dtype=pl.String, skip_nulls=True) for name in texts
    )
    return marked.rename({name: as_text(name) for name in marked.columns}).write_csv()


def as_text(cell: str) -> str:
    """Return the cell, with an apostrophe in front if a spreadsheet would run it as a formula."""
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell
