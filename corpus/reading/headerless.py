"""Recognise tables without a header by their shape, where the shape leaves no doubt."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

log = logging.getLogger(__name__)


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
        return all(
            len(record) == len(self.patterns)
            and all(map(re.fullmatch, self.patterns, record, _DOT_ALL * len(record)))
            for record in records
        )


_DOT_ALL = (re.DOTALL,)
_TEXT = r".*[^\W\d_]{2}.*\s.*"
"""A text has a word and a space."""
_BINARY = (
    "the label, 1 for negative and 2 for positive, is no number of stars, so the reviews have no rating; for a "
    "classifier: --set classification.label=label"
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


def shape_of(records: Sequence[Sequence[str]], source: str) -> Shape | None:
    """Return the shape of a table from its first records, and log it; None if it has no shape that is known."""
    known = next((shape for shape in SHAPES if records and shape.fits(records)), None)
    if known:
        _tell_once(source, known)
    return known


@cache
def _tell_once(source: str, shape: Shape) -> None:
    """Log once per process: several stages read the same file."""
    log.warning(
        "%s has no header; it looks like %s and is read with the columns %s%s",
        source,
        shape.title,
        ", ".join(shape.columns),
        f": {shape.note}" if shape.note else "",
    )
