"""Define the base class of all sections of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Annotated, Any, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from models.options import MOST, MOST_WHOLE, require

Seed = Annotated[int, Field(ge=0, lt=2**31)]


def _one_line(value: str) -> str:
    if not value.isprintable() or len(value) > 1_000:
        raise ValueError("it must be one line of at most 1,000 characters, without control characters")
    return value


Line = Annotated[str, AfterValidator(_one_line)]
"""Text that is shown or looked up unchanged: a path, an address, a licence."""
Temperature = Annotated[float, Field(ge=0.001, le=1_000)]
"""Sampling temperature. Below the minimum, all words but the likeliest get probability 0 in floating point."""


class Section(BaseModel):
    """Immutable section that refuses unknown keys and numbers that are not finite or too large.

    The limits of numbers are in `models/options.py`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_value_for_a_number(cls, options: Any) -> Any:
        for name, value in options.items() if isinstance(options, Mapping) else ():
            if field := cls.model_fields.get(name):
                _refuse_truth_value(name, field.annotation, value)
        return options

    @model_validator(mode="after")
    def _numbers_of_usable_size(self) -> Self:
        for name in type(self).model_fields:
            require_numbers(name, getattr(self, name))
        return self


def _refuse_truth_value(name: str, annotation: Any, value: Any) -> None:
    """Raise ValueError if *value*, or an entry of it, is true or false although the annotation requires a number.

    pydantic would read true as 1.
    """
    kinds = types_in(annotation)
    if {int, float} & kinds and bool not in kinds:
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, bool):
                raise ValueError(f"{name} is {str(one).lower()}; it must be a number")


def types_in(annotation: Any) -> set[Any]:
    """Return all types in an annotation: `tuple[float, ...] | None` has float and NoneType."""
    inside = get_args(annotation)
    return {annotation} if not inside else set().union(*(types_in(one) for one in inside))


def require_numbers(name: str, value: object) -> None:
    """Raise ValueError if a value, or a number nested in it, is not finite, or above `MOST_WHOLE` or `MOST`."""
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
        require(isfinite(value) and abs(value) <= MOST, name, value, f"a finite number of at most {MOST:g}")
