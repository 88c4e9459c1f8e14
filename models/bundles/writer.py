"""Choose the number format in which a model writes texts: int8 where this processor is quick at it and little is lost.

With the VNNI instructions a step in int8 takes a part of one in float32, elsewhere longer. What int8 loses was measured
on the validation reviews when the model was fitted, and its bundle says it. All doors write with the same format, so a
seed gives the same text in each of them. Scores, suggestions and beam search are always computed in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from ..base import LanguageModel
from .bundle_form import is_number

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
    if not is_number(loss):
        return TextWriter(model, "float32", "its bundle does not say what int8 loses; the fit of a network measures it")
    rise = f"int8 raises the perplexity of reviews by {loss:.3%}"
    if loss > MOST_LOSS:
        return TextWriter(model, "float32", f"{rise}, more than {MOST_LOSS:.1%}")
    try:
        from ..neural.inference.int8 import in_int8, is_quick
    except ImportError as error:  # numba is not installed
        return TextWriter(model, "float32", f"int8 cannot be used: {error}")
    if not is_quick():
        return TextWriter(model, "float32", "this processor has no VNNI instructions, with which int8 is quicker")
    if (quick := in_int8(model)) is None:
        return TextWriter(model, "float32", "the model has no network on the processor")
    return TextWriter(quick, "int8", rise)
