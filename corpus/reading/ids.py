"""Give ids one form in every format, and derive the id of a record that has none.

pandas writes the whole numbers of a column with gaps as 1000.0, so `1000` and `1000.0` are one user: otherwise one
person would stand in two splits. A number that a program has rounded (1.23457E+17) would make many users one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import polars as pl

IDS = ("review_id", "user_id", "business_id")
DERIVED_ID, CERTAIN_ID = "sha-", "rev-"
"""Prefixes of a review_id that was derived from the content of a record without one. The second says that author,
business and date are known: two such records are one review, exported twice. Others are told apart by numbers."""
DERIVED_FROM = ("user_id", "business_id", "date", "text")
"""What does not change: stars are edited and votes are added later, and the review must stay in its split."""
IS_DERIVED = rf"^{DERIVED_ID}[0-9a-f]{{28}}$"

_WHOLE = r"^(-?\d{1,15})\.0+$"
ROUNDED = r"^-?(\d{16,}\.\d+|\d(\.\d+)?[eE]\+\d+)$"
"""Numbers that a float cannot hold exactly, or as spreadsheets show them."""
WHY_ROUNDED = "a number that was rounded, so that different ids look the same; write ids as text"


def one_form(column: pl.Expr) -> pl.Expr:
    """Return ids, given as strings, in one form: a whole number without `.0`."""
    return column.str.replace(_WHOLE, "$1")


def is_rounded(column: pl.Expr) -> pl.Expr:
    """Return whether an id, given as a string, is a number that has lost digits."""
    return column.str.contains(ROUNDED)


def derived_id(values: Sequence[object]) -> str:
    """Return the id of a record without one; records that agree in `DERIVED_FROM` get equal ids.

    Args:
        values: The values of `DERIVED_FROM`; None where unknown.
    """
    joined = "\x1f".join("" if value is None else str(value) for value in values)
    return (DERIVED_ID if None in values else CERTAIN_ID) + hashlib.sha256(joined.encode()).hexdigest()[:28]
