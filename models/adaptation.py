"""Describe whether and how a model adapts to the text that it is measured on; shown next to each of its figures.

A static model predicts from its weights or tables and the text so far. An adaptive model also changes these weights
while it reads, or looks words up in the text itself. Both give distributions of the next token. But their figures
cannot be compared, so they have different names and are in different rows.
"""

from __future__ import annotations

from typing import Any

STATIC = "static"


def adaptation_of(model: Any) -> str:
    """Return "static", or the ways in which a model or any of its parts adapts, joined by " + ".

    An adaptive class names its way in the attribute `adaptation`. A model that combines others has them in `parts`.
    """
    return " + ".join(dict.fromkeys(_ways(model))) or STATIC


def _ways(model: Any) -> list[str]:
    own = getattr(model, "adaptation", "")
    inner = [way for part in getattr(model, "parts", ()) for way in _ways(part.model)]
    return [*inner, own] if own else inner
