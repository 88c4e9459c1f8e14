"""Name slices for people: the same words on the terminal, in figures and in texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OF_TOKENS = ("frequency", "position", "after_oov")
"""Dimensions whose slices are made of tokens, not of whole reviews."""


def dimension_name(dimension: str, label: str) -> str:
    """Return the name of a dimension for one of its slices; a month that was merged into its year is a year."""
    years = dimension == "month" and len(label) == len("2019")
    return "year" if years else dimension.replace("_", " ")


def slice_name(row: Mapping[str, Any], between: str = " ") -> str:
    """Return the name of a slice with its dimension: "year 2019", "after oov unknown word"."""
    return f"{dimension_name(row['dimension'], row['slice'])}{between}{row['slice']}"
