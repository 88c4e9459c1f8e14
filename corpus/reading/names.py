"""What a file's name says: whether it is read, and what the column `source` calls it."""

from __future__ import annotations

from pathlib import PurePosixPath

DATA_SUFFIXES = frozenset({".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".parquet"})
COMPRESSED_SUFFIXES = frozenset({".gz", ".zst", ".bz2", ".xz"})
"""Of files that hold one file; behind them stands the ending that tells its format."""
PACKED_SUFFIXES = COMPRESSED_SUFFIXES | {".tar", ".tgz", ".zip"}
UNFINISHED = frozenset({".tmp", ".part", ".partial", ".crdownload", ".download"})
"""What programs put behind the name of a file that they are still writing."""
SIBLINGS = ("business", "checkin", "tip", "user", "photo", "photos")
"""The other tables of the Yelp Open Dataset, which are no reviews; ignored in a folder or an archive."""


def looks_like_data(name: str) -> bool:
    """Return whether a file of a folder or an archive is read, judged by its name alone."""
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
    """Return whether a program keeps it for itself: `.ipynb_checkpoints/a.csv`, `__MACOSX/a.json`, `_SUCCESS`."""
    return any(part.startswith((".", "_")) and part != ".." for part in path.parts)


def printable(name: str) -> str:
    """Return a file's name with question marks for bytes that are not UTF-8, which no table could hold."""
    return name.encode("utf-8", "replace").decode()


def uncompressed(name: str) -> PurePosixPath:
    """Return a file's name without the endings of its compression: `a.json.gz` tells of JSON."""
    path = PurePosixPath(name)
    while path.suffix.lower() in COMPRESSED_SUFFIXES:
        path = path.with_suffix("")
    return path


def distinct(name: str, taken: dict[str, int]) -> str:
    """Return the name, numbered where it is taken, and take it; the ending, which tells the format, stays.

    Args:
        name: As it is wanted.
        taken: Names that are taken, each with the last number tried for it: an archive may hold one name many times.
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
