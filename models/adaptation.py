"""Whether a model adapts to the very text that it is measured on, and how; said beside every figure of a model.

A static model answers by its weights or tables and the text so far. A model that adapts also changes what it answers
by, or looks words up in the text itself. Both are distributions of the next token, but a figure of the one says nothing
of the other, so they stand under different names and in different rows.
"""

from __future__ import annotations

from typing import Any

STATIC = "static"

def adaptation_of(model: Any) -> str:
    """Return "static", or the ways in which a model or any of its parts adapts, joined by " + ".

    A class that adapts says how in its attribute `adaptation`; a model that is made of others has them as `parts`.
    """
    return " + ".join(dict.fromkeys(_ways(model))) or STATIC


def _ways(model: Any) -> list[str]:
    own = getattr(model, "adaptation", "")
    inner = [way for part in getattr(model, "parts", ()) for way in _ways(part.model)]
    return [*inner, own] if own else inner
