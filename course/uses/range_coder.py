"""Code symbols in as many bits as their probabilities say: a range coder in whole numbers, and tables that adapt.

An interval of integers stands for all that was coded so far; each symbol narrows it to a part as large as its frequency
among the total. Bytes leave at the front when all numbers of the interval share them (Martin 1979, "Range encoding: an
algorithm for removing redundancy from a digitised message"; carries as in LZMA's coder). A message of probability P
takes at most −log2 P + 16 bits.

RangeEncoder and decoder have the same method `code`, so that one description of a format both writes and reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol

import numpy as np

BITS = 48
SPARE = 8
"""Bits of the interval, and those that leave at a time."""
LEAST = 1 << BITS - SPARE
SCALE = 1 << 24
"""Sum of the frequencies of a distribution, without the 1 that each symbol gets; totals stay far below `LEAST`."""


class Frequencies(Protocol):
    """The frequencies of the next symbol."""

    total: int

    def bounds(self, symbol: int) -> tuple[int, int]:
        """Return the sum of the frequencies before a symbol, and its own."""

    def symbol_at(self, place: int) -> int:
        """Return the symbol whose part of the total holds this place."""


class RangeEncoder:
    """Writes symbols to `data`."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._low = 0
        self._range = 1 << BITS
        self._pending = 0
        self._cache = -1

    def code(self, frequencies: Frequencies, symbol: int | None) -> int:
        """Write a symbol, and return it."""
        assert symbol is not None, "an encoder needs the symbol"
        before, size = frequencies.bounds(symbol)
        part = self._range // frequencies.total
        self._low += before * part
        self._range = size * part
        while self._range <= LEAST:
            self._range <<= SPARE
            self._shift()
        return symbol

    def finish(self) -> bytes:
        """Return all that was written: of the last interval the number with most zeros at its end, without these."""
        zeros = self._range.bit_length() - 1
        end = self._low + self._range
        while _round_up(self._low, zeros) >= end:
            zeros -= 1
        self._low = _round_up(self._low, zeros)
        for _ in range(BITS // SPARE + 1):
            self._shift()
        return bytes(self.data).rstrip(b"\0")

    def _shift(self) -> None:
        """Let the front byte leave; it waits while a carry may still change it."""
        carry = self._low >> BITS
        front = (self._low >> (BITS - SPARE)) & 255
        if carry or front < 255:
            if self._cache >= 0:
                self.data.append((self._cache + carry) & 255)
            self.data += bytes([(255 + carry) & 255]) * self._pending
            self._pending = 0
            self._cache = front
        else:
            self._pending += 1

        self._low = (self._low & (LEAST - 1)) << SPARE


def _round_up(number: int, zeros: int) -> int:
    """Return the smallest number, not below *number*, that ends with so many binary zeros."""
    return ((number + (1 << zeros) - 1) >> zeros) << zeros


class RangeDecoder:
    """Reads the symbols that a `RangeEncoder` wrote; raises ValueError where these must have ended."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._next = BITS // SPARE
        self._code = int.from_bytes(data[: self._next].ljust(self._next, b"\0"))
        self._range = 1 << BITS

    def code(self, frequencies: Frequencies, symbol: int | None = None) -> int:
        """Return the next symbol."""
        part = self._range // frequencies.total
        symbol = frequencies.symbol_at(min(self._code // part, frequencies.total - 1))
        before, size = frequencies.bounds(symbol)
        self._code -= before * part
        self._range = size * part
        while self._range <= LEAST:
            self._range <<= SPARE
            if self._next > len(self._data) + BITS // SPARE:
                raise ValueError("the code has ended before its symbols")
            front = 0
            if self._next < len(self._data):
                front = self._data[self._next]

            self._code = self._code << SPARE | front
            self._next = self._next + 1

        return symbol


class Distribution:
    """The frequencies of a model's distribution: each symbol has at least 1, so that any can be coded.

    Args:
        p_V: Probabilities, which sum to at most 1.
    """

    def __init__(self, p_V: np.ndarray) -> None:
        self._ends_V = np.cumsum((np.asarray(p_V, np.float64) * SCALE).astype(np.int64) + 1)
        self.total = int(self._ends_V[-1])

    def bounds(self, symbol: int) -> tuple[int, int]:
        """Return the sum of the frequencies before a symbol, and its own."""
        before = 0
        if symbol:
            before = int(self._ends_V[symbol - 1])

        return before, int(self._ends_V[symbol]) - before

    def symbol_at(self, place: int) -> int:
        """Return the symbol whose part of the total holds this place."""
        return int(np.searchsorted(self._ends_V, place, side="right"))


class Uniform:
    """Symbols that are equally frequent."""

    def __init__(self, total: int) -> None:
        self.total = total

    def bounds(self, symbol: int) -> tuple[int, int]:
        """Return the sum of the frequencies before a symbol, and its own."""
        return symbol, 1

    def symbol_at(self, place: int) -> int:
        """Return the symbol whose part of the total holds this place."""
        return place


class Adaptive:
    """Counts of the symbols so far, with which the next one is coded; older ones count less.

    Args:
        first: Counts before any symbol.
        step: What a symbol adds.
    """

    def __init__(self, first: Sequence[int], step: int = 24) -> None:
        self._counts = list(first)
        self._step = step
        self.total = sum(first)

    def bounds(self, symbol: int) -> tuple[int, int]:
        """Return the sum of the frequencies before a symbol, and its own."""
        return sum(self._counts[:symbol]), self._counts[symbol]

    def symbol_at(self, place: int) -> int:
        """Return the symbol whose part of the total holds this place."""
        return next(symbol for symbol, end in enumerate(accumulate(self._counts)) if place < end)

    def add(self, symbol: int) -> None:
        """Count a symbol."""
        self._counts[symbol] += self._step
        self.total += self._step
        if self.total > 1 << 16:
            self._counts = [count + 1 >> 1 for count in self._counts]
            self.total = sum(self._counts)
