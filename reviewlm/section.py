"""The base of all sections of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from reviewlm.plain_values import refuse_truth_value

Seed = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """Immutable, and strict about unknown keys and numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _no_truth_value_for_a_number(cls, options: Any) -> Any:
        for name, value in options.items() if isinstance(options, Mapping) else ():
            if field := cls.model_fields.get(name):
                refuse_truth_value(name, field.annotation, value)
        return options
