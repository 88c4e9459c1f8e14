"""What all options of models share: complaints about their ranges, and how one is added later."""

from __future__ import annotations

LATER = {"later": True}
"""Marks (as a field's `metadata`) an option that a kind of model got after models of it had been stored.

At its default `specs.to_dict` leaves it out, so that their digests stay what they were.
"""


def require(holds: bool, name: str, value: object, allowed: str) -> None:
    """Raise ValueError naming the option, its value and the allowed range unless *holds*."""
    if not holds:
        raise ValueError(f"{name} is {value!r}; it must be {allowed}")
