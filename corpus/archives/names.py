"""Decide by a file's name whether to read it, and which name its reviews get in the column `source`."""

from __future__ import annotations

from pathlib import PurePosixPath

DATA_SUFFIXES = frozenset({".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".parquet"})
COMPRESSED_SUFFIXES = frozenset({".gz", ".zst", ".bz2", ".xz"})
"""Suffixes of files that hold one compressed file; the suffix before them shows the format."""
PACKED_SUFFIXES = COMPRESSED_SUFFIXES | {".tar", ".tgz", ".zip"}
UNFINISHED = frozenset({".tmp", ".part", ".partial", ".crdownload", ".download"})
"""Suffixes that programs add to the name of a file while they write it."""
SIBLINGS = ("business", "checkin", "tip", "user", "photo", "photos")
"""The other tables of the Yelp Open Dataset, which are not reviews; ignored in a folder or an archive."""


def looks_like_data(name: str) -> bool:
    """Return whether a file in a folder or an archive should be read, judged by its name only."""
    path = PurePosixPath(name)
    if _is_hidden(path) or path.suffix.lower() in UNFINISHED:
        return False
    words = path.name.lower().replace("-", "_").replace(".", "_").split("_")
    if any(word in SIBLINGS for word in words) and not is_review_member(name):
        return False
    return any(suffix.lower() in DATA_SUFFIXES | PACKED_SUFFIXES for suffix in path.suffixes[-2:])


def is_review_member(name: str) -> bool:
    """Return whether a member's name says that it holds reviews, as in Yelp's own archive."""
    path = PurePosixPath(name)
    readable = path.suffix.lower() not in {".pdf", ".md", ".html"} | UNFINISHED
    return "review" in path.name.lower() and readable and not _is_hidden(path)


def _is_hidden(path: PurePosixPath) -> bool:
    """Return whether the file is internal to a program: `.ipynb_checkpoints/a.csv`, `__MACOSX/a.json`, `_SUCCESS`."""
    return any(part.startswith((".", "_")) and part != ".." for part in path.parts)


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
