"""Decide by a file's name whether to read it, and which name its reviews get in the column `source`."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from functools import cache
from pathlib import PurePosixPath

DATA_SUFFIXES = frozenset({".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".parquet"})
COMPRESSED_SUFFIXES = frozenset({".gz", ".zst", ".bz2", ".xz"})
"""Suffixes of files that hold one compressed file; the suffix before them shows the format."""
PACKED_SUFFIXES = COMPRESSED_SUFFIXES | {".tar", ".tgz", ".zip"}
UNFINISHED = frozenset({".tmp", ".part", ".partial", ".crdownload", ".download"})
"""Suffixes that programs add to the name of a file while they write it."""
SIBLINGS = frozenset(
    ("business", "businesses", "checkin", "checkins", "photo", "photos", "tip", "tips", "user", "users")
)
"""The other tables of the Yelp Open Dataset, which are not reviews."""
WORDS_OF_SIBLINGS = SIBLINGS | {"yelp", "academic", "dataset", "hours", "attributes", "id", "to"}
"""Words of which the names of their files are made, and nothing else: `tip_top_diner.csv` holds reviews."""
PACK_MARK = ".reviewlm-small-files"
"""Name of the first member of an archive of small files that we made (`corpus.reading.packs`)."""
MOST_NAMED = 3
"""Files that are not read and that the log names."""
log = logging.getLogger(__name__)


def looks_like_data(name: str) -> bool:
    """Return whether a file in a folder or an archive should be read, judged by its name only."""
    path = PurePosixPath(name)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if _is_hidden(path) or _is_sibling(path) or not UNFINISHED.isdisjoint(suffixes[-1:]):
        return False
    return any(suffix in DATA_SUFFIXES | PACKED_SUFFIXES for suffix in suffixes[-2:])


def may_be_data(name: str) -> bool:
    """Return whether the first bytes of a file must tell whether to read it, because its name has no suffix."""
    path = PurePosixPath(name)
    return not path.suffix and not _is_hidden(path) and not _is_sibling(path)


def _is_sibling(path: PurePosixPath) -> bool:
    words = set(re.split(r"[-_.\d]+", path.name.lower())) - {suffix.lower()[1:] for suffix in path.suffixes} - {""}
    return not words.isdisjoint(SIBLINGS) and words <= WORDS_OF_SIBLINGS


def tell_left_out(where: str, read: int, names: Sequence[str]) -> None:
    """Log which files of a folder or an archive are not read; warn if a name has the form of one that is read."""
    if names:
        named = tuple(map(printable, sorted(names, key=lambda name: not _has_data_suffix(name))[:MOST_NAMED]))
        level = logging.WARNING if any(map(_has_data_suffix, names)) else logging.INFO
        _tell_once(level, where, read, named, len(names))


def _has_data_suffix(name: str) -> bool:
    path = PurePosixPath(name)
    last = {suffix.lower() for suffix in path.suffixes[-2:]}
    return not _is_hidden(path) and (not last or not last.isdisjoint(DATA_SUFFIXES | PACKED_SUFFIXES))


@cache
def _tell_once(level: int, where: str, read: int, names: tuple[str, ...], count: int) -> None:
    """Log once per process: several stages ask for the same files."""
    more = f" and {count - len(names)} more" if count > len(names) else ""
    do = "does" if count == 1 else "do"
    log.log(level, "%s: %d of %d files are read; %s%s %s not look like reviews (name one that holds reviews with an "
            "--input of its own)", where, read, read + count, ", ".join(names), more, do)  # fmt: skip


def _is_hidden(path: PurePosixPath) -> bool:
    """Return whether the file is internal to a program: `.ipynb_checkpoints/a.csv`, `__MACOSX/a.json`, `_SUCCESS`."""
    return any(part.startswith((".", "_")) and part != ".." for part in path.parts)


def is_pack(head: bytes) -> bool:
    """Return whether these are the first bytes of an archive of small files that we made."""
    return head.startswith(PACK_MARK.encode() + b"\0")


def printable(name: str) -> str:
    """Return the file name with question marks for bytes that are not UTF-8, because a table cannot hold them."""
    return name.encode("utf-8", "replace").decode()


def uncompressed(name: str) -> PurePosixPath:
    """Return the file name without its compression suffixes: `a.json.gz` gives `a.json`."""
    path = PurePosixPath(name)
    while path.suffix.lower() in COMPRESSED_SUFFIXES:
        path = path.with_suffix("")
    return path


def distinct(name: str, taken: dict[str, int]) -> str:
    """Return the name, numbered if it is taken, and mark it as taken; the suffix stays because it shows the format.

    Args:
        name: The wanted name.
        taken: Taken names, each with the last number tried for it, because an archive can hold one name many times.
    """
    folder, slash, last = name.rpartition("/")
    stem, dot, ending = last.partition(".")
    chosen, number = name, taken.get(name, 1)
    while chosen in taken:
        number += 1
        chosen = f"{folder}{slash}{stem}#{number}{dot}{ending}"
    taken[name] = number
    taken.setdefault(chosen, 1)
    return chosen
