"""A kernel that takes a function and a table of another file; its result is printed."""

from __future__ import annotations

from reviewlm.models.compiled import kernel

from .used import TABLE, times


@kernel
def price(number: float) -> float:
    return times(number) + TABLE[1]


print(price(10.0))
