"""Check and count regular expressions in texts.

The engine is that of polars (Rust's `regex`): its time grows linearly with the text for every expression, so no pattern
can hang a server. It therefore has no look-around and no references back to a group.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl


def fault(pattern: str) -> str:
    """Return what is wrong with an expression, in one sentence; "" if nothing is."""
    try:
        empty = int(pl.Series([""]).str.count_matches(pattern).item())
    except pl.exceptions.PolarsError as error:
        lines = str(error).partition("This error occurred")[0].strip().splitlines()
        return lines[-1].strip().removeprefix("regex error: ").removeprefix("error: ")
    return "it matches the empty text, so it would count places, not signs" if empty else ""


def count_patterns(texts: pl.Series, patterns: Mapping[str, str]) -> np.ndarray:
    """Return the number of matches of each pattern in each text, which do not overlap (D, G; float64)."""
    columns = [texts.str.count_matches(pattern).to_numpy().astype(np.float64) for pattern in patterns.values()]
    return np.stack(columns, axis=1) if columns else np.zeros((len(texts), 0))
