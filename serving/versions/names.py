"""Find the version that a request names."""

from __future__ import annotations

from serving.versions.source import Contents
from tracking.registry.versions import CHAMPION, SCHEME


class UnknownVersion(Exception):
    """There is no such model, alias or version; the message names those that there are."""


def number_named(reference: str | None, name: str, contents: Contents) -> int:
    """Return the version that a request names: NAME, NAME@ALIAS, NAME/3, an alias or a number; None: the champion.

    Args:
        reference: What the request says.
        name: Name of the registered model.
        contents: What the registry holds of it.

    Raises:
        UnknownVersion: There is none of this name.
    """
    asked = (reference or CHAMPION).removeprefix(SCHEME)
    if asked == name:
        asked = CHAMPION
    for mark in "@/":
        asked = asked.removeprefix(f"{name}{mark}")
    number = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else contents.aliases.get(asked)
    if number is None or number not in contents.created:
        if not contents.created:
            raise UnknownVersion(f"no version of {name} is registered yet")
        if asked == CHAMPION:
            raise UnknownVersion(f"{name} has no champion yet; {name}/NUMBER names a version")
        names = ", ".join([*(f"{name}@{alias}" for alias in sorted(contents.aliases)), f"{name}/NUMBER"])
        raise UnknownVersion(f"the model {(reference or '')[:80]!r} does not exist; there are {names}")
    return number
