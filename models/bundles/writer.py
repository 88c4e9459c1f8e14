"""Choose the number format in which a model writes texts: int8 where this processor is quick at it and little is lost.

With the VNNI instructions a step in int8 takes a part of one in float32, elsewhere longer. What int8 loses was measured
on the validation reviews when the model was fitted, and its bundle says it. All doors write with the same format, so a
seed gives the same text in each of them. Scores, suggestions and beam search are always computed in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from math import isfinite
from typing import Any, Literal, NamedTuple, cast

from ..base import LanguageModel

INT8_LOSS = "int8_loss"
"""Fact: by which share int8 raises the perplexity of the reviews that the fit was validated with."""
MOST_LOSS = 0.001
"""Largest such share with which texts are written in int8."""


class TextWriter(NamedTuple):
    """The model whose steps write texts.

    Args:
        model: It continues from states of the bundle's model. In int8, steps may give log p plus a number.
        numbers: Its number format.
        why: Why this format, for people.
    """

    model: LanguageModel
    numbers: Literal["float32", "int8"]
    why: str


def writer_of(model: LanguageModel, facts: Mapping[str, object]) -> TextWriter:
    """Return the model that writes the texts of a bundle on this processor.

    Args:
        model: The bundle's model.
        facts: Facts recorded about its training.
    """
    loss = facts.get(INT8_LOSS)
    if not isinstance(loss, int | float) or isinstance(loss, bool) or not isfinite(loss):
        return TextWriter(model, "float32", "its bundle does not say what int8 loses; the fit of a network measures it")
    rise = f"int8 raises the perplexity of reviews by {loss:.3%}"
    if loss > MOST_LOSS:
        return TextWriter(model, "float32", f"{rise}, more than {MOST_LOSS:.1%}")
    quick = in_int8(model, only_quick=True)
    if quick is None:
        return TextWriter(model, "float32", "no network of the model is quicker in int8 on this processor")
    return TextWriter(quick, "int8", rise)


def in_int8(model: Any, normalise: bool = False, only_quick: bool = False) -> LanguageModel | None:
    """Return a model that shares this one's weights, but whose steps are in int8; for scores use the model itself.

    A model that combines others gets its networks in int8. None: there is none, or not on the processor.

    Args:
        model: Any model.
        normalise: False: the steps of a network with a plain softmax give log-probabilities plus a number.
        only_quick: Convert no network that would be slower.
    """
    if convert := getattr(model, "in_int8", None):
        return cast("LanguageModel | None", convert(normalise, only_quick))
    converted, changed = copy(model), False
    for name in ("model", "network_model"):
        part = getattr(model, name, None)
        if part is not None and (quick := in_int8(part, True, only_quick)) is not None:
            setattr(converted, name, quick)
            changed = True
    if parts := getattr(model, "models", ()):
        quick_parts = [in_int8(part, True, only_quick) for part in parts]
        converted.models = tuple(quick or part for quick, part in zip(quick_parts, parts, strict=True))
        changed = changed or any(quick is not None for quick in quick_parts)
    return cast(LanguageModel, converted) if changed else None
