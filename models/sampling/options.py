"""Define the sampling options that the command line, the flow, the Python API and the server share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..base import ModelError
from ..text.normal_form import require_unicode

SMALLEST = float(np.finfo(np.float32).tiny)
"""Smallest float32 that processors divide by without losing digits."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. The options take effect in the order of this list.

    Args:
        repetition_penalty: Above 1, tokens that the text (prompt included) already has become less likely: their
            log-probability is multiplied by it (Keskar et al. 2019). 1: no effect; below 1 rewards repetition.
        no_repeat_ngram_size: No sequence of this many tokens occurs twice in the text (prompt included); 0: no effect.
        temperature: 1 is the model as it is, 0 always takes the most probable token (of equals, the first). Near 0 it
            does the same, but equals stay equal.
        top_k: Only the k most probable tokens, and those that are equal to the last of them; 0: all; 1: as temperature
            0.
        top_p: Only the most probable tokens that make up this share (Holtzman et al. 2020); 1: all.
        min_p: Only tokens at least this share as probable as the most probable one (Nguyen et al. 2024); 0: all.
        typical_p: Only the tokens whose information is nearest to the entropy, up to this share (Meister et al. 2023);
            1: all.
        watermark: Key by which tokens are drawn from what is left (`watermark.py`); empty: by the seed alone.

    Raises:
        ModelError: kind "input": an option is out of its range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    watermark: str = ""

    def __post_init__(self) -> None:
        warm = _within(self.temperature, 0, float("inf"))
        _require_number("temperature", self.temperature, warm, "a number of at least 0")
        require_whole("top_k", self.top_k, 0)
        _require_number("top_p", self.top_p, _within(self.top_p, 0, 1, open_below=True), "above 0 and at most 1")
        _require_number("min_p", self.min_p, _within(self.min_p, 0, 1), "at least 0 and at most 1")
        typical = _within(self.typical_p, 0, 1, open_below=True)
        _require_number("typical_p", self.typical_p, typical, "above 0 and at most 1")
        penalty = _within(self.repetition_penalty, 0, float("inf"), open_below=True)
        _require_number("repetition_penalty", self.repetition_penalty, penalty, "a number above 0")
        require_whole("no_repeat_ngram_size", self.no_repeat_ngram_size, 0)
        if not isinstance(self.watermark, str):
            raise ModelError(f"watermark is {self.watermark!r}; it must be text", "input")
        require_unicode(self.watermark)

    @property
    def greedy(self) -> bool:
        """Whether the most probable token is always taken, of equals the first."""
        return self.temperature == 0 or self.top_k == 1

    @property
    def divisor(self) -> float:
        """The temperature within the normal numbers of float32, so that neither it nor its inverse is 0 or infinite."""
        return _normal(self.temperature)

    @property
    def factor(self) -> float:
        """The repetition penalty within the same numbers."""
        return _normal(self.repetition_penalty)

    @property
    def looks_back(self) -> bool:
        """Whether the text so far has an influence on the next token beyond the model's."""
        return self.repetition_penalty != 1 or self.no_repeat_ngram_size > 0 or self.watermark != ""

    @property
    def cuts_only(self) -> bool:
        """Whether a token is only kept or not by its own probability: temperature, top_k, top_p and min_p."""
        others = self.typical_p, self.repetition_penalty, self.no_repeat_ngram_size, self.watermark
        return not self.greedy and others == (1, 1, 0, "")


def _within(value: object, least: float, most: float, open_below: bool = False) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return least <= value <= most and value < float("inf") and not (open_below and value == least)


def _normal(number: float) -> float:
    return min(max(number, SMALLEST), 1 / SMALLEST)


def _require_number(name: str, value: object, holds: bool, allowed: str) -> None:
    if not holds:
        raise ModelError(f"{name} is {value!r}; it must be {allowed}", "input")


def require_whole(name: str, value: object, least: int) -> None:
    """Raise ModelError (kind "input") unless *value* is a whole number of at least *least*."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least:  # type: ignore[operator]
        raise ModelError(f"{name} is {value!r}; it must be a whole number of at least {least}", "input")


def require_stop(stop: Sequence[str]) -> None:
    """Raise ModelError (kind "input") unless every stop string has a character, and all of them are Unicode."""
    if isinstance(stop, str) or not all(isinstance(string, str) and string for string in stop):
        raise ModelError(f"stop is {stop!r}; it must be strings of at least one character each", "input")
    for string in stop:
        require_unicode(string)
