"""Check the fields of a bundle's `spec.json`, so that later code can rely on types and ranges.

`spec.json` comes from a registry, a download or the user: every field is checked before it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from math import isfinite
from pathlib import PurePosixPath
from typing import Any, TypeGuard

from ..base import ModelError
from ..specs import KINDS


def require_form(values: Any) -> None:
    """Raise ValueError that names the field, unless *values* describes a bundle of a known kind.

    Raises:
        ModelError: kind "bundle": it is the bundle of another family of models, such as a classifier.
    """
    if isinstance(values, dict) and values.get("task") is not None:
        task = str(values["task"])[:40]
        verb = "neighbours" if task == "vectors" else "classify"
        raise ModelError(f"it is not a language model: its task is {task!r}, see `reviewlm {verb}`", "bundle")
    require_fields(values, _FIELDS, KINDS)


def require_fields(
    values: Any, fields: Mapping[str, tuple[Callable[[Any], bool], str]], kinds: Collection[str]
) -> None:
    """Raise ValueError that names the field, unless *values* has all fields and is of a known kind.

    Args:
        values: Of the description.
        fields: By field, a function that says whether its value is valid, and what is allowed.
    """
    if not isinstance(values, dict):
        raise ValueError(f"it is of type {type(values).__name__}, not an object")
    for name, (fits, allowed) in fields.items():
        if name not in values:
            raise ValueError(f"it lacks {name!r}")
        if not fits(values[name]):
            raise ValueError(f"{name!r} must be {allowed}")
    kind, inner = values["kind"], values["spec"].get("kind")
    if kind not in kinds:
        raise ValueError(f"it is of kind {kind[:40]!r}; known: {', '.join(kinds)}")
    if kind != inner:
        raise ValueError(f"it is of kind {kind!r}, its options of kind {str(inner)[:40]!r}")


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def is_version(value: object) -> bool:
    """Return whether a value is a version number."""
    return type(value) is int and 1 <= value < 2**31


def is_text(value: object) -> bool:
    """Return whether a value is text."""
    return isinstance(value, str)


def are_files(value: object) -> bool:
    """Return whether a value maps names of files below the bundle to their SHA-256."""
    return isinstance(value, dict) and all(_is_inside(name) and isinstance(sha, str) for name, sha in value.items())


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    plain = name.isprintable() and "\\" not in name
    return plain and bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _are_shares(value: object) -> bool:
    if not isinstance(value, list) or len(value) != 6:
        return False
    return all(is_number(share) and share >= 0 for share in value) and sum(value) > 0


def _are_probes(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(probe, dict) and _is_probe(probe) for probe in value)


def _is_probe(probe: Mapping[str, Any]) -> bool:
    if {"text", "stars", "nats"} - probe.keys():
        return False
    stars = probe["stars"]
    rated = stars is None or (type(stars) is int and 0 <= stars <= 5)
    return isinstance(probe["text"], str) and rated and (probe["nats"] is None or is_number(probe["nats"]))


_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "format": (is_version, "a whole number from 1 on"),
    "interface": (is_version, "a whole number from 1 on"),
    "kind": (is_text, "text"),
    "spec": (lambda spec: isinstance(spec, dict), "an object: the options of the model"),
    "vocabulary_digest": (is_text, "text"),
    "boundary_policy": (is_text, "text"),
    "stars_prior": (_are_shares, "six numbers, 0 or more, not all of them 0"),
    "probes": (_are_probes, "objects with 'text', 'stars' (0 to 5, or null) and 'nats' (a number, or null)"),
    "files": (are_files, "an object: names of files inside the bundle, each with its SHA-256"),
}
NAMES = frozenset(_FIELDS)
"""The fields that every bundle has; all others are facts about its training."""
