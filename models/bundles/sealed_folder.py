"""Seal a folder of data: a description in JSON, written last, lists the SHA-256 of every other file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..base import ModelError, sha256_of, stored


def seal(folder: Path, name: str, values: Mapping[str, Any]) -> None:
    """Write the description *name* of a folder: *values*, and "files" with the SHA-256 of every file in it.

    It must not exist while the other files are written, so that a folder with a description is complete.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    values = {**values, "files": {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}}
    text = json.dumps(values, sort_keys=True, ensure_ascii=False, indent=1, allow_nan=False)
    (folder / name).write_text(text + "\n", encoding="utf-8")


def read_description(
    folder: Path, name: str, versions: Mapping[str, int], require_form: Callable[[Any], None]
) -> tuple[bytes, dict[str, Any]]:
    """Return the description's bytes and its values.

    Args:
        name: Of the description.
        versions: Fields that are version numbers, with the newest that this version of the package reads.
        require_form: Raises ValueError unless the values have the form that later code relies on.

    Raises:
        ModelError: kind "bundle": it cannot be read, is newer than this version, or has another form.
    """
    with stored(f"{folder} is not a bundle: {name}"):
        raw = (folder / name).read_bytes()
        values = json.loads(raw)
        for field, ours in versions.items():
            if isinstance(values, dict) and isinstance(values.get(field), int) and values[field] > ours:
                raise ModelError(
                    f"the bundle {folder} has {field} {str(values[field])[:20]}, newer than this version reads; "
                    "open it with the version that wrote it, or a later one",
                    "bundle",
                )
        require_form(values)
    return raw, values


def verify_files(folder: Path, files: Mapping[str, str]) -> None:
    """Compare files with their SHA-256.

    Raises:
        ModelError: kind "bundle": a file is missing or damaged.
    """
    with stored(f"a file of bundle {folder}"):
        for name, expected in files.items():
            path = folder / name
            if not path.is_file():
                raise ModelError(f"the bundle {folder} lacks its file {name}", "bundle")
            actual = sha256_of(path)
            if actual != expected:
                raise ModelError(
                    f"the file {name} of bundle {folder} is damaged: its SHA-256 is {actual} instead of {expected}",
                    "bundle",
                )
