"""Write and read the manifest of an artifact, canonical JSON with a checksum of itself, and hash the files it lists."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from reviewlm.models.base import sha256_of

MANIFEST = "manifest.json"
"""Name of the manifest in the folder of an artifact."""
CHECKSUM = "checksum"
"""Key of the SHA-256 of everything else in a manifest."""
GONE = "gone"
CHANGED = "changed"
"""States of a file that differs from its manifest."""


def canonical(value: object) -> str:
    """Return the unique JSON text of *value* (sorted keys, no spaces), to be hashed.

    An infinite figure is written as Python's `Infinity`: a perplexity may be infinite.
    """
    return json.dumps(
        value,
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    )


def hash_of(value: object) -> str:
    """Return the SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def seal(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values in the form of JSON, with a checksum of all of them."""
    plain = json.loads(canonical(values))  # turns keys into strings, as they are when read back
    return {**plain, CHECKSUM: hash_of(plain)}


def unseal(text: str) -> dict[str, Any]:
    """Return the values of a JSON text whose checksum is right.

    Raises:
        ValueError: It is no JSON object, or was changed after it was written.
    """
    try:
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("it is not a JSON object")
        if values.pop(CHECKSUM, None) != hash_of(values):
            raise ValueError("it was changed since it was written: its checksum differs")
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return values


def write_manifest(file: Path, manifest: Mapping[str, Any]) -> None:
    """Write a manifest with its checksum."""
    file.write_text(canonical(seal(manifest)) + "\n", encoding="utf-8")


def read_manifest(file: Path) -> dict[str, Any]:
    """Read and check a manifest.

    Raises:
        ValueError: It is no JSON object, was changed after it was written, has facts, options or inputs that are no
            objects, or lacks the size or SHA-256 of a file.
    """
    manifest = unseal(file.read_text(encoding="utf-8"))
    for name in ("facts", "options", "inputs", "files"):
        if not isinstance(manifest.get(name, {}), dict):
            raise ValueError(f"{name!r} is not an object")

    for name, entry in manifest["files"].items():
        inside = PurePosixPath(name)
        if not inside.parts or inside.is_absolute() or ".." in inside.parts or "\0" in name:
            raise ValueError(f"{name[:60]!r} is not a file of the artifact")
        right = (
            isinstance(entry, dict)
            and type(entry.get("bytes")) is int
            and isinstance(entry.get("sha256"), str)
        )
        if not right:
            raise ValueError(f"it has no size and SHA-256 of {name[:60]!r}")

    return manifest


def differing_files(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return "gone" or "changed" for every file that is missing or has another SHA-256.

    Args:
        folder: Folder that contains the files.
        files: Their names, each with `sha256`, as in a manifest.
    """
    states = {}
    for name, entry in files.items():
        path = folder / name
        if not path.is_file():
            states[name] = GONE
        elif sha256_of(path) != entry["sha256"]:
            states[name] = CHANGED
    return states


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested values to dotted names."""
    leaves: dict[str, Any] = {}
    for name, value in values.items():
        leaves |= (
            flat(value, f"{prefix}{name}.")
            if isinstance(value, Mapping)
            else {f"{prefix}{name}": value}
        )
    return leaves


def seconds_of(manifest: Mapping[str, Any]) -> float | None:
    """Return the wall time of a stage; None if it was not recorded.

    If a training was interrupted, the stage's own seconds are those of the last process. So the result is never below
    the seconds of all updates, which the trainer has counted.
    """
    seconds = manifest.get("seconds")
    if seconds is None:
        return None
    summary = (manifest.get("facts") or {}).get("summary")
    updates = None
    if isinstance(summary, Mapping):
        updates = summary.get("seconds")

    return max(float(seconds), float(updates or 0.0))
