"""Define the base class of settings sections, and the default sampling of command line, server and Python API.

A section is immutable, without unknown keys or infinite numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from reviewlm.models.options import (
    LARGEST_NUMBER,
    MOST_WHOLE,
    Count,
    DrawSeed,
    NotNegative,
    Number,
    Positive,
    Share,
    ShareAboveZero,
    WholeOrZero,
    require,
)

TEMPERATURE = 0.8
TOP_P = 0.95
MAX_TOKENS = 300
SEED = 1


def _one_line(value: str) -> str:
    if not value.isprintable() or len(value) > 1_000:
        raise ValueError(
            "it must be one line of at most 1,000 characters, without control characters"
        )
    return value


Line = Annotated[str, AfterValidator(_one_line)]
"""Text that is shown or looked up unchanged: a path, an address, a licence."""
Temperature = Annotated[Number, Field(ge=0.001, le=1_000)]
"""Sampling temperature. Below the minimum, all words but the likeliest get probability 0 in floating point."""


class Section(BaseModel):
    """Immutable section that refuses unknown keys and numbers that are not finite.

    The types of numbers, with their ranges, are in `models/options.py`.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        defer_build=True,
    )


def require_numbers(name: str, value: object) -> None:
    """Raise ValueError if a value, or a number nested in it, is not finite, or above `MOST_WHOLE` or `LARGEST_NUMBER`."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            require_numbers(f"{name}.{key}", inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            require_numbers(name, inner)
    elif isinstance(value, int) and not isinstance(value, bool):
        shown = value if value.bit_length() < 1_000 else "far too large"
        require(abs(value) <= MOST_WHOLE, name, shown, f"at most {MOST_WHOLE:,}")
    elif isinstance(value, float):
        require(
            isfinite(value) and abs(value) <= LARGEST_NUMBER,
            name,
            value,
            f"a finite number of at most {LARGEST_NUMBER:g}",
        )


def require_names(
    what: str,
    specs: Sequence[Any],
    baseline: str,
) -> None:
    """Raise ValueError if two models of a section have one name, or none has the name of the baseline."""
    names = [spec.name for spec in specs]
    if duplicate := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two {what} share the name {duplicate.pop()!r}")
    if names and baseline not in names:
        raise ValueError(f"baseline is {baseline!r}; it must be one of the {what} {names}")


__all__ = [
    "MAX_TOKENS",
    "SEED",
    "TEMPERATURE",
    "TOP_P",
    "Count",
    "DrawSeed",
    "NotNegative",
    "Positive",
    "Share",
    "ShareAboveZero",
    "WholeOrZero",
]
