"""Check and count regular expressions in texts.

The engine is that of polars (Rust's `regex`): the time of a search grows linearly with the text, that of all matches of
an unlucky expression with its square. So only the first `COUNTED` characters of a text are looked at. The engine has no
look-around and no references back to a group.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

COUNTED = 5_000
"""Characters of a text in which matches are counted; the longest review that Yelp takes."""


def fault(pattern: str) -> str:
    """Return what is wrong with an expression, in one sentence; "" if nothing is."""
    try:
        empty = int(pl.Series([""]).str.count_matches(pattern).item())
    except pl.exceptions.PolarsError as error:
        lines = str(error).partition("This error occurred")[0].strip().splitlines()
        return lines[-1].strip().removeprefix("regex error: ").removeprefix("error: ")
    return "it matches the empty text, so it would count places, not signs" if empty else ""


def count_patterns(texts: pl.Series, patterns: Mapping[str, str]) -> np.ndarray:
    """Return the number of matches, which do not overlap, of each pattern in the beginning of each text (D, G)."""
    texts = texts.str.head(COUNTED)
    columns = [texts.str.count_matches(pattern).to_numpy().astype(np.float64) for pattern in patterns.values()]
    return np.stack(columns, axis=1) if columns else np.zeros((len(texts), 0))
