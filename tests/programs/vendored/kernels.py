"""Print what a kernel computes, and how often it was compiled for that."""

from __future__ import annotations

from .compiled import kernel

FACTOR = 2


@kernel
def times(number: float) -> float:
    return FACTOR * number


@kernel
def price(number: float) -> float:
    return times(number) + 1


print(price(10.0), sum(price.stats.cache_misses.values()))
