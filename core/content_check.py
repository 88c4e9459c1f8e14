"""Check the files of an artifact against its manifest before they are used.

A manifest holds the SHA-256 of every file. Reading all of a large store at every run would cost more than the run, so
a record beside the artifacts (`store/.checked`) keeps what each file looked like when its content was last found to be
right: inode, size, times of change, and a CRC-32 of every block of a large file. A file that looks different, or that
has no record, is hashed whole. One that looks the same is hashed whole if it is small; of a large one the first and the
last block are read and some in between, others at every use, until in the end all have been read. The SHA-256 decides
what is damaged; a block that differs only makes the whole file be read.
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
"""Files up to this size are hashed whole at their first use in a process."""
CYCLE = 64
"""Of so many blocks of a large file one is read at a use, beside the first and the last of the file."""
GONE, CHANGED = "gone", "changed"
_right: dict[Path, tuple[dict[str, Stamp], bool]] = {}
"""Artifacts that this process has checked: what their files looked like, and whether all of them were hashed whole."""


class Stamp(NamedTuple):
    """What the file system says of a file: if it is the same as before, nobody has written to the file."""

    inode: int
    size: int
    modified: int
    changed: int


@dataclass(frozen=True)
class Seen:
    """A file whose content was right: what it looked like, and the CRC-32 of each block of a large one."""

    stamp: Stamp
    blocks: tuple[int, ...] = ()


class BadFile(NamedTuple):
    """A file of an artifact that is not what the manifest says: its name, "gone" or "changed", and how that is seen."""

    name: str
    state: str
    detail: str


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def differing_files(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return "gone" or "changed" for every file that is not there any more, or whose bytes have another SHA-256.

    Args:
        folder: Where the files lie.
        files: Their names, each with `sha256`, as in a manifest.
    """
    found = {}
    for name, entry in files.items():
        path = folder / name
        if not path.is_file():
            found[name] = GONE
        elif sha256_of_file(path) != entry["sha256"]:
            found[name] = CHANGED
    return found


def stamp_of(path: Path) -> Stamp:
    """Return what a file looks like now."""
    about = path.stat()
    return Stamp(about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)


def hash_file(path: Path) -> tuple[str, Seen]:
    """Read a file once and return its SHA-256 and what is to be recorded of it."""
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
        """Return the first file that is gone or has another size than the manifest says; no file is opened."""
        return self._stamps(folder, files)[1]

    def first_bad(self, folder: Path, files: Mapping[str, Mapping[str, Any]], whole: bool = False) -> BadFile | None:
        """Return the first file whose content is not what the manifest says; None where all is right.

        Args:
            folder: The artifact's, `store/<stage>/<digest>`.
            files: Names with `bytes` and `sha256`, from its manifest.
            whole: Hash every file whole, whatever the record says.
        """
        stamps, bad = self._stamps(folder, files)
        if bad:
            return bad
        known, thorough = _right.get(folder, ({}, False))
        if known == stamps and (thorough or not whole):
            return None
        uses, before = self._read(folder)
        now: dict[str, Seen] = {}
        for name, entry in files.items():
            seen = before.get(name)
            if not whole and seen and seen.stamp == stamps[name] and _sample_agrees(folder / name, seen, uses):
                now[name] = seen
                continue
            found, now[name] = hash_file(folder / name)
            if found != entry["sha256"]:
                return BadFile(name, CHANGED, f"its SHA-256 is {found[:16]}… instead of {entry['sha256'][:16]}…")
        _right[folder] = {name: seen.stamp for name, seen in now.items()}, whole or not before
        if now != before or any(seen.blocks for seen in now.values()):
            self._record(folder, now, uses + 1)
        return None

    def remember(self, folder: Path, seen: Mapping[str, Seen]) -> None:
        """Take the files of an artifact as right: they were hashed as they were written."""
        _right[folder] = {name: each.stamp for name, each in seen.items()}, True
        self._record(folder, seen, 0)

    def _record(self, folder: Path, seen: Mapping[str, Seen], uses: int) -> None:
        """Write what files look like whose content is right, and how often they were sampled.

        A disk that refuses is no error: without a record they are read whole again.
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
        """Return how often an artifact was sampled, and what is recorded of its files; nothing where that is unread."""
        try:
            record = json.loads(self._file(folder).read_text(encoding="utf-8"))
            if record["format"] != FORMAT:
                return 0, {}
            files = {name: Seen(Stamp(*values[:4]), tuple(values[4])) for name, values in record["files"].items()}
            return int(record["uses"]), files
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
            return 0, {}

    def _file(self, folder: Path) -> Path:
        return self.root / f"{folder.parent.name}-{folder.name}.json"

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
    """Return which of *count* blocks are read at use number *uses*: the first, the last, and those whose turn it is."""
    return sorted({0, count - 1, *range(1 + uses % CYCLE, count - 1, CYCLE)})


def _sample_agrees(path: Path, seen: Seen, uses: int) -> bool:
    """Return whether some blocks of a large file are as recorded; False of a small one, which is hashed whole."""
    if not seen.blocks:
        return False
    with path.open("rb", buffering=0) as file:
        return all(_crc32_at(file, number) == seen.blocks[number] for number in sampled_blocks(len(seen.blocks), uses))


def _crc32_at(file: Any, number: int) -> int:
    file.seek(number * BLOCK)
    return zlib.crc32(file.read(BLOCK))

