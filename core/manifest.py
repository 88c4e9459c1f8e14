"""Write and read the manifest of an artifact, canonical JSON with a checksum of itself, and hash the files it lists."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Any

MANIFEST = "manifest.json"
"""Name of the manifest in the folder of an artifact."""
CHECKSUM = "checksum"
"""Key of the SHA-256 of everything else in a manifest."""
GONE, CHANGED = "gone", "changed"
"""States of a file that differs from its manifest."""
NO_NUMBER = "__float__"
"""Key that encodes an infinity in the facts; no stage has a fact with this name."""


def canonical(value: object) -> str:
    """Return the unique JSON text of *value* (sorted keys, no spaces, no NaN), to be hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def to_json(value: Any) -> Any:
    """Return facts with `{"__float__": "inf"}` for numbers that JSON cannot write: a perplexity may be infinite."""
    if isinstance(value, Mapping):
        return {name: to_json(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(inner) for inner in value]
    return {NO_NUMBER: str(value)} if isinstance(value, float) and not isfinite(value) else value


def from_json(value: dict[str, Any]) -> Any:
    """Undo `to_json`; an object hook for `json.loads`."""
    return float(value[NO_NUMBER]) if value.keys() == {NO_NUMBER} else value


def hash_of(value: object) -> str:
    """Return the SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values in the form of JSON, with a checksum of all of them."""
    plain = json.loads(canonical(to_json(values)))  # turns keys into strings, as they are when read back
    return {**plain, CHECKSUM: hash_of(plain)}


def unsealed(text: str) -> dict[str, Any]:
    """Return the values of a JSON text whose checksum is right.

    Raises:
        ValueError: It is no JSON object, or was changed after it was written.
    """
    try:
        plain = json.loads(text)
        if not isinstance(plain, dict):
            raise ValueError("it is not a JSON object")
        if plain.pop(CHECKSUM, None) != hash_of(plain):
            raise ValueError("it was changed since it was written: its checksum differs")
        values = dict(json.loads(text, object_hook=from_json))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except (OverflowError, TypeError) as error:  # a number of hundreds of digits where an infinity is expected
        raise ValueError(f"a value is not a number: {error}") from error
    del values[CHECKSUM]
    return values


def write_manifest(file: Path, manifest: Mapping[str, Any]) -> None:
    """Write a manifest with its checksum."""
    file.write_text(canonical(sealed(manifest)) + "\n", encoding="utf-8")


def read_manifest(file: Path) -> dict[str, Any]:
    """Read and check a manifest.

    Raises:
        ValueError: It is no JSON object, was changed after it was written, or lacks the size or SHA-256 of a file.
    """
    manifest = unsealed(file.read_text(encoding="utf-8"))
    _require_form(manifest)
    return manifest


def _require_form(manifest: Mapping[str, Any]) -> None:
    """Raise ValueError unless facts, options and inputs are objects, and every file has its size and SHA-256."""
    for name in ("facts", "options", "inputs", "files"):
        if not isinstance(manifest.get(name, {}), dict):
            raise ValueError(f"{name!r} is not an object")
    for name, entry in manifest["files"].items():
        inside = PurePosixPath(name)
        if not inside.parts or inside.is_absolute() or ".." in inside.parts or "\0" in name:
            raise ValueError(f"{name[:60]!r} is not a file of the artifact")
        right = isinstance(entry, dict) and type(entry.get("bytes")) is int and isinstance(entry.get("sha256"), str)
        if not right:
            raise ValueError(f"it has no size and SHA-256 of {name[:60]!r}")


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        elif sha256_of_file(path) != entry["sha256"]:
            states[name] = CHANGED
    return states


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested values to dotted names."""
    leaves: dict[str, Any] = {}
    for name, value in values.items():
        leaves |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return leaves


def seconds_of(manifest: Mapping[str, Any]) -> float | None:
    """Return the wall time of a stage; None if it was not recorded.

    If a training was interrupted, the stage's own seconds are those of the last process. So the result is never below
    the seconds of all updates, which the trainer has counted.
    """
    if (seconds := manifest.get("seconds")) is None:
        return None
    summary = (manifest.get("facts") or {}).get("summary")
    updates = summary.get("seconds") if isinstance(summary, Mapping) else None
    return max(float(seconds), float(updates or 0.0))
