"""Publish a finished work folder in the store by one rename, with a manifest of its files."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.content_check import Seen, hash_file
from core.manifest import MANIFEST, write_manifest


def publish(work: Path, final: Path, manifest: dict[str, Any]) -> dict[str, Seen]:
    """Write the manifest, flush all files to the disk, and rename the folder; return the records of its files.

    Raises:
        ValueError: The manifest lists files already, and those of the folder differ.
    """
    # What a killed attempt left must not be listed among the files of this one: its manifest, and the hidden file that
    # safetensors writes before it renames it.
    for left in (work / MANIFEST, *work.rglob(".tmp*")):
        left.unlink(missing_ok=True)
    files = {path.relative_to(work).as_posix(): path for path in sorted(work.rglob("*")) if path.is_file()}
    hashed = {name: hash_file(path) for name, path in files.items()}
    found = {name: {"bytes": seen.stamp.size, "sha256": sha256} for name, (sha256, seen) in hashed.items()}
    listed = manifest.setdefault("files", found)
    if listed != found:
        differs = next(name for name in sorted({*listed, *found}) if listed.get(name) != found.get(name))
        raise ValueError(f"{differs[:60]!r} differs from its manifest")
    write_manifest(work / MANIFEST, manifest)
    for path in [*files.values(), work / MANIFEST]:
        _fsync(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    work.rename(final)
    _fsync(final.parent)
    return {name: seen for name, (_, seen) in hashed.items()}


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def newest_first(folder: Path) -> list[Path]:
    """Return what a folder holds, the newest first; an empty list if there is no such folder."""
    times = {}
    if folder.is_dir():
        for path in folder.iterdir():
            with suppress(OSError):  # removed just now
                times[path] = path.stat().st_mtime
    return sorted(times, key=lambda path: times[path], reverse=True)
