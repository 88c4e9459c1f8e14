"""Check the names of data families, and choose a name for data without one."""

from __future__ import annotations

from models.specs import require_name

REVIEWS, SYNTHETIC, UNKNOWN = "reviews", "synthetic", "unknown"
"""Default families of a user's files and of the embedded corpus; family of a version whose data are not known any
more."""


def family_name(given: str, has_input: bool) -> str:
    """Return the family name from the configuration, or else the default for the origin of the reviews."""
    return given or (REVIEWS if has_input else SYNTHETIC)


def checked_name(name: str) -> str:
    """Return a family name from a configuration, which becomes a tag; raise ValueError if it is not valid as one."""
    if name == UNKNOWN:
        raise ValueError(f"{UNKNOWN!r} is reserved for versions whose data are unknown")
    return require_name(name, "source.family") if name else name
