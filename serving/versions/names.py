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
    version = (reference or CHAMPION).removeprefix(SCHEME)
    if version == name:
        version = CHAMPION
    for mark in "@/":
        version = version.removeprefix(f"{name}{mark}")
    is_number = version.isascii() and version.isdigit() and len(version) < 10
    number = int(version) if is_number else contents.aliases.get(version)
    if number is None or number not in contents.created:
        if not contents.created:
            raise UnknownVersion(f"no version of {name} is registered yet")
        if version == CHAMPION:
            raise UnknownVersion(f"{name} has no champion yet; {name}/NUMBER names a version")
        names = ", ".join([*(f"{name}@{alias}" for alias in sorted(contents.aliases)), f"{name}/NUMBER"])
        raise UnknownVersion(f"the model {(reference or '')[:80]!r} does not exist; there are {names}")
    return number
