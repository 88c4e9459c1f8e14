"""Check the files of an artifact against its manifest before they are used.

A manifest holds the SHA-256 of every file. Reading a whole large store at every run would cost more than the run
itself. So a record next to the artifacts (`store/.checked`) keeps the state of each file when its content was last
correct: inode, size, modification and change time, and a CRC-32 of every block of a large file.

A file with another state, or without a record, is hashed whole. A small file with the same state is hashed whole too.
Of a large file with the same state, the first and the last block are read, and some blocks in between. Every use reads
other blocks in between, so in the end all of them have been read. Only the SHA-256 decides whether a file is damaged: a
block that differs causes the whole file to be hashed.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

RECORDS = ".checked"
FORMAT = 1
BLOCK = 1 << 20
SMALL = 4 << 20
"""Files up to this size, in bytes, are hashed whole at their first use in a process."""
CYCLE = 64
"""Distance between the inner blocks that one use reads; the first and the last block are read at every use."""
GONE, CHANGED = "gone", "changed"
_right: dict[Path, tuple[dict[str, Stamp], bool]] = {}
"""Artifacts that this process has checked: the stamps of their files, and whether all of them were hashed whole."""


class Stamp(NamedTuple):
    """State of a file as the file system reports it: as long as it is the same, nobody has written to the file."""

    inode: int
    size: int
    modified: int
    changed: int


@dataclass(frozen=True)
class Seen:
    """A file with correct content: its stamp, and the CRC-32 of each block if the file is large."""

    stamp: Stamp
    blocks: tuple[int, ...] = ()


class BadFile(NamedTuple):
    """A file of an artifact that differs from the manifest: its name, "gone" or "changed", and the evidence."""

    name: str
    state: str
    detail: str


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


def record_of(root: Path, folder: Path) -> Path:
    """Return the file with the record of an artifact's folder, for the store at *root*."""
    return root / RECORDS / f"{folder.parent.name}-{folder.name}.json"


def stamp_of(path: Path) -> Stamp:
    """Return the current stamp of a file."""
    about = path.stat()
    return Stamp(about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)


def hash_file(path: Path) -> tuple[str, Seen]:
    """Read a file once and return its SHA-256 and the record to keep of it."""
    before, whole, blocks = stamp_of(path), hashlib.sha256(), []
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            whole.update(block)
            if before.size > SMALL:
                blocks.append(zlib.crc32(block))
    return whole.hexdigest(), Seen(before, tuple(blocks))


class ContentCheck:
    """The records of one store.

    Args:
        root: The store's folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root / RECORDS

    def wrong_size(self, folder: Path, files: Mapping[str, Mapping[str, Any]]) -> BadFile | None:
        """Return the first file that is missing or has another size than in the manifest; no file is opened."""
        return self._stamps(folder, files)[1]

    def first_bad(self, folder: Path, files: Mapping[str, Mapping[str, Any]], whole: bool = False) -> BadFile | None:
        """Return the first file whose content differs from the manifest, or None if all files are correct.

        Args:
            folder: Folder of the artifact, `store/<stage>/<digest>`.
            files: Names with `bytes` and `sha256`, from its manifest.
            whole: Hash every file whole, even if its record is unchanged.
        """
        stamps, bad = self._stamps(folder, files)
        if bad:
            return bad
        checked, thorough = _right.get(folder, ({}, False))
        if checked == stamps and (thorough or not whole):
            return None
        uses, before = self._read(folder)
        now: dict[str, Seen] = {}
        for name, entry in files.items():
            seen = before.get(name)
            if not whole and seen and seen.stamp == stamps[name] and _sample_agrees(folder / name, seen, uses):
                now[name] = seen
                continue
            digest, now[name] = hash_file(folder / name)
            if digest != entry["sha256"]:
                return BadFile(name, CHANGED, f"its SHA-256 is {digest[:16]}… instead of {entry['sha256'][:16]}…")
        _right[folder] = {name: seen.stamp for name, seen in now.items()}, whole or not before
        if now != before or any(seen.blocks for seen in now.values()):
            self._record(folder, now, uses + 1)
        return None

    def remember(self, folder: Path, seen: Mapping[str, Seen]) -> None:
        """Record the files of an artifact as correct: they were hashed when they were written."""
        _right[folder] = {name: each.stamp for name, each in seen.items()}, True
        self._record(folder, seen, 0)

    def _record(self, folder: Path, seen: Mapping[str, Seen], uses: int) -> None:
        """Write the stamps of files with correct content, and how often they were sampled.

        A failed write is no error: without a record, the files are hashed whole again.
        """
        files = {name: [*each.stamp, list(each.blocks)] for name, each in seen.items()}
        text = json.dumps({"format": FORMAT, "uses": uses, "files": files}, separators=(",", ":"))
        file = self._file(folder)
        part = file.with_name(f"{file.name}.{os.getpid()}.part")
        with suppress(OSError):
            file.parent.mkdir(exist_ok=True)
            try:
                part.write_text(text, encoding="utf-8")
                part.replace(file)
            finally:
                part.unlink(missing_ok=True)

    def _read(self, folder: Path) -> tuple[int, dict[str, Seen]]:
        """Return how often an artifact was sampled and the records of its files; (0, {}) without a valid record."""
        try:
            record = json.loads(self._file(folder).read_text(encoding="utf-8"))
            if record["format"] != FORMAT:
                return 0, {}
            files = {name: Seen(Stamp(*values[:4]), tuple(values[4])) for name, values in record["files"].items()}
            return int(record["uses"]), files
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
            return 0, {}

    def _file(self, folder: Path) -> Path:
        return record_of(self.root.parent, folder)

    @staticmethod
    def _stamps(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Stamp], BadFile | None]:
        stamps: dict[str, Stamp] = {}
        for name, entry in files.items():
            try:
                stamps[name] = stamp_of(folder / name)
            except OSError as error:
                return stamps, BadFile(name, GONE, str(error))
            if stamps[name].size != entry["bytes"]:
                return stamps, BadFile(name, CHANGED, f"it has {stamps[name].size} bytes instead of {entry['bytes']}")
        return stamps, None


def sampled_blocks(count: int, uses: int) -> list[int]:
    """Return the numbers of the blocks to read at use *uses*: the first, the last, and every `CYCLE`-th in between."""
    return sorted({0, count - 1, *range(1 + uses % CYCLE, count - 1, CYCLE)})


def _sample_agrees(path: Path, seen: Seen, uses: int) -> bool:
    """Return whether the sampled blocks of a large file are as recorded; False for a small file.

    A small file has no recorded blocks: it is hashed whole.
    """
    if not seen.blocks:
        return False
    with path.open("rb", buffering=0) as file:
        return all(_crc32_at(file, number) == seen.blocks[number] for number in sampled_blocks(len(seen.blocks), uses))


def _crc32_at(file: Any, number: int) -> int:
    file.seek(number * BLOCK)
    return zlib.crc32(file.read(BLOCK))

