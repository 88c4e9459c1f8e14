"""Names of data families, and those of data that were given none."""

from __future__ import annotations

from models.specs import require_name

REVIEWS, SYNTHETIC, UNKNOWN = "reviews", "synthetic", "unknown"
"""Families of a user's files and of the embedded corpus that were given no name; and of a version whose data nobody
knows any more."""


def family_name(given: str, has_input: bool) -> str:
    """Return the name of the family: the one that the configuration gives, else by where the reviews come from."""
    return given or (REVIEWS if has_input else SYNTHETIC)


def checked_name(name: str) -> str:
    """Return a name that a configuration gives, which becomes a tag; raise ValueError where it is not fit for one."""
    if name == UNKNOWN:
        raise ValueError(f"{UNKNOWN!r} is kept for versions of which nobody knows the data")
    return require_name(name, "source.family") if name else name
