"""Define the sampling options that the command line, the flow, the Python API and the server share."""

from __future__ import annotations

import operator
from collections.abc import Set
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, get_args, get_type_hints

from .base import ModelError
from .options import (
    NotNegative,
    Positive,
    Share,
    ShareAboveZero,
    WholeOrZero,
    allowed_values,
    bounds_in,
)
from .text.given import given_text, given_texts

SMALLEST = 2.0**-126
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

    temperature: NotNegative = 1.0
    top_k: WholeOrZero = 0
    top_p: ShareAboveZero = 1.0
    min_p: Share = 0.0
    typical_p: ShareAboveZero = 1.0
    repetition_penalty: Positive = 1.0
    no_repeat_ngram_size: WholeOrZero = 0
    watermark: str = ""

    def __post_init__(self) -> None:
        for name, kind in KINDS.items():
            require_allowed(name, value := getattr(self, name), kind)
            object.__setattr__(self, name, get_args(kind)[0](value))  # torch knows no fractions
        _require_unicode(given_text(self.watermark, "watermark"))

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
        """Whether a possible token is kept or not by its own probability alone: temperature, top_k, top_p and min_p."""
        return not self.greedy and self.typical_p == 1 and not self.watermark


KINDS = {
    name: kind
    for name, kind in get_type_hints(Sampling, include_extras=True).items()
    if kind is not str
}
"""The kind of numbers that each option takes."""


def require_allowed(
    name: str,
    value: object,
    kind: Any,
) -> None:
    """Refuse a value that is not a number of a kind, e.g. `ShareAboveZero` of `models/options.py`.

    Raises:
        ModelError: kind "input".
    """
    whole, *metadata = get_args(kind)
    number = isinstance(value, Integral if whole is int else Real) and not isinstance(value, bool)
    if number and all(getattr(operator, name)(value, bound) for name, bound in bounds_in(metadata)):
        return
    noun, limits = allowed_values(kind)
    raise ModelError(
        f"{name} is {value!r}; it must be {noun}" + (f", {limits}" if limits else ""), "input"
    )


def _normal(number: float) -> float:
    return min(max(number, SMALLEST), 1 / SMALLEST)


def given_stop(stop: object) -> tuple[str, ...]:
    """Return the strings before which a text ends.

    Raises:
        ModelError: kind "input": *stop* is no collection of texts of one character or more, or they are not Unicode.
    """
    strings = given_texts(list(stop) if isinstance(stop, Set) else stop, "stop")
    for string in strings:
        if not string:
            raise ModelError("stop has an empty text; each must have a character", "input")
        _require_unicode(string)
    return tuple(strings)


def _require_unicode(text: str) -> None:
    """Refuse a string that no bytes of UTF-8 stand for; the patterns of the normal form are compiled only now."""
    from .text.normal_form import require_unicode

    require_unicode(text)
