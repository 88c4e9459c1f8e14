"""Define the base class of all sections of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from core.plain_values import refuse_truth_value
from models.specs import require_name, require_numbers

Seed = Annotated[int, Field(ge=0, lt=2**31)]
Name = Annotated[str, AfterValidator(require_name)]
"""A name that can be used as a file name, as part of an address and in a table cell (`models/names.py`)."""


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
                refuse_truth_value(name, field.annotation, value)
        return options

    @model_validator(mode="after")
    def _numbers_of_usable_size(self) -> Self:
        for name in type(self).model_fields:
            require_numbers(name, getattr(self, name))
        return self
