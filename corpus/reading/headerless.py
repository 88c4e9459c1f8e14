"""Recognise tables without a header by their shape, where the shape leaves no doubt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from reviewlm.corpus.account import Entry, Outcome
from reviewlm.corpus.account_kinds import Kind

_DOT_ALL = (re.DOTALL,)
_TEXT = r".*[^\W\d_]{2}.*\s.*"
"""A text has a word and a space."""
_BINARY = (
    "the label, 1 for negative and 2 for positive, is no number of stars, so the reviews have no rating; for a "
    "classifier: --set classification.label=label"
)


@dataclass(frozen=True)
class Shape:
    """A well-known table without a header.

    Attributes:
        title: Its name, and who published it.
        columns: Names of the columns, for the program.
        patterns: For each column what all of its values match.
        note: What a reader must know about it.
    """

    title: str
    columns: tuple[str, ...]
    patterns: tuple[str, ...]
    note: str = ""

    def fits(self, records: Sequence[Sequence[str]]) -> bool:
        """Return whether all records have this shape."""
        for record in records:
            if len(record) != len(self.patterns):
                return False
            if not all(map(re.fullmatch, self.patterns, record, _DOT_ALL * len(record))):
                return False

        return True

    def entry(self, records: int) -> Entry:
        """Return the entry of the account that says as what the records of a file were read."""
        columns = ", ".join(self.columns)
        note = f": {self.note}" if self.note else ""
        detail = (
            f"no header; it looks like {self.title} and is read with the columns {columns}{note}"
        )
        return Entry(
            "read",
            Outcome.NOTED,
            Kind.NO_HEADER,
            records,
            detail=detail,
            odd=True,
        )


SHAPES = (
    Shape("yelp_review_polarity (Zhang et al. 2015)", ("label", "text"), ("[12]", _TEXT), _BINARY),
    Shape("yelp_review_full (Zhang et al. 2015)", ("stars", "text"), ("[1-5]", _TEXT)),
    Shape(
        "amazon_review_polarity (Zhang et al. 2015)",
        ("label", "title", "text"),
        ("[12]", ".*", _TEXT),
        _BINARY,
    ),
    Shape(
        "amazon_review_full (Zhang et al. 2015)",
        ("stars", "title", "text"),
        ("[1-5]", ".*", _TEXT),
    ),
)
"""The first that fits is taken."""


def shape_of(records: Sequence[Sequence[str]]) -> Shape | None:
    """Return the shape of a table from its first records; None if it has no shape that is known."""
    return next((shape for shape in SHAPES if records and shape.fits(records)), None)
