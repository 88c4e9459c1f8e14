"""Tell by the name of a file, in a folder or an archive, whether it holds reviews, and name the source of its reviews."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from functools import cache
from pathlib import PurePosixPath

from reviewlm.corpus.account import Entry, Outcome
from reviewlm.corpus.account_kinds import Kind

log = logging.getLogger(__name__)
DATA_SUFFIXES = frozenset({".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".parquet"})
BROTLI = ".br"
"""Suffix of files packed by Brotli, which writes no first bytes of its own."""
COMPRESSED_SUFFIXES = frozenset({".gz", ".zst", ".bz2", ".xz", BROTLI})
"""Suffixes of files that hold one compressed file; the suffix before them shows the format."""
PACKED_SUFFIXES = COMPRESSED_SUFFIXES | {".tar", ".tgz", ".zip"}
DESCRIPTIONS = frozenset(("dataset_info.json", "dataset_infos.json", "dataset_dict.json"))
"""Files that describe a data set of the library `datasets`, and lie beside it."""
UNFINISHED = frozenset({".tmp", ".part", ".partial", ".crdownload", ".download"})
"""Suffixes that programs add to the name of a file while they write it."""
SIBLINGS = frozenset(
    (
        "business",
        "businesses",
        "checkin",
        "checkins",
        "photo",
        "photos",
        "tip",
        "tips",
        "user",
        "users",
    )
)
"""The other tables of the Yelp Open Dataset, which are not reviews."""
WORDS_OF_SIBLINGS = SIBLINGS | {"yelp", "academic", "dataset", "hours", "attributes", "id", "to"}
"""Words of which the names of their files are made, and nothing else: `tip_top_diner.csv` holds reviews."""
MOST_NAMED = 3
"""Files that are not read and that the log names."""


def looks_like_data(name: str) -> bool:
    """Return whether a file in a folder or an archive should be read, judged by its name only."""
    path = PurePosixPath(name)
    if path.name in DESCRIPTIONS:
        return False

    suffixes = [suffix.lower() for suffix in path.suffixes]
    if _is_hidden(path) or _is_sibling(path) or not UNFINISHED.isdisjoint(suffixes[-1:]):
        return False
    return any(suffix in DATA_SUFFIXES | PACKED_SUFFIXES for suffix in suffixes[-2:])


def may_be_data(name: str) -> bool:
    """Return whether the first bytes of a file must tell whether to read it, because its name has no suffix."""
    path = PurePosixPath(name)
    return not path.suffix and not _is_hidden(path) and not _is_sibling(path)


def _is_sibling(path: PurePosixPath) -> bool:
    """Return whether a file stands beside data and is none: a README, a licence, a list of checksums."""
    suffixes = {suffix.lower()[1:] for suffix in path.suffixes}
    words = set(re.split(r"[-_.\d]+", path.name.lower())) - suffixes - {""}
    return not words.isdisjoint(SIBLINGS) and words <= WORDS_OF_SIBLINGS


def tell_left_out(
    where: str,
    read: int,
    names: Sequence[str],
) -> None:
    """Log which files of a folder or an archive are not read; warn if a name has the form of one that is read."""
    if names:
        _tell_once(
            where,
            read,
            tuple(map(printable, sorted(names, key=lambda name: not _has_data_suffix(name)))),
        )


def entries_of_left_out(
    step: str,
    where: str,
    names: Sequence[str],
) -> tuple[Entry, ...]:
    """Return the entry of the files in a folder or an archive that are not read, for the account; the log tells them.

    Args:
        step: "find" of a folder, "read" of an archive.
        where: Name of the folder or archive.
    """
    if not names:
        return ()
    first = sorted(map(printable, names), key=lambda name: not _has_data_suffix(name))
    more = ""
    if len(first) > MOST_NAMED:
        more = f" and {len(first) - MOST_NAMED} more"

    detail = (
        f"not read, because they do not look like reviews: {', '.join(first[:MOST_NAMED])}{more}"
    )
    return (
        Entry(
            step,
            Outcome.NOT_READ,
            Kind.NO_REVIEWS,
            len(names),
            where,
            detail,
        ),
    )


def _has_data_suffix(name: str) -> bool:
    path = PurePosixPath(name)
    last = {suffix.lower() for suffix in path.suffixes[-2:]}
    return not _is_hidden(path) and (
        not last or not last.isdisjoint(DATA_SUFFIXES | PACKED_SUFFIXES)
    )


@cache
def _tell_once(
    where: str,
    read: int,
    names: tuple[str, ...],
) -> None:
    """Log once per process: several stages ask for the same files."""
    level = logging.WARNING if _has_data_suffix(names[0]) else logging.INFO
    more = ""
    if len(names) > MOST_NAMED:
        more = f" and {len(names) - MOST_NAMED} more"

    do = "does" if len(names) == 1 else "do"
    log.log(
        level,
        "%s: %d of %d files are read; %s%s %s not look like reviews (name one that holds reviews with an "
        "--input of its own)",
        where,
        read,
        read + len(names),
        ", ".join(names[:MOST_NAMED]),
        more,
        do,
    )


def _is_hidden(path: PurePosixPath) -> bool:
    """Return whether the file is internal to a program: `.ipynb_checkpoints/a.csv`, `__MACOSX/a.json`, `_SUCCESS`."""
    return any(part.startswith((".", "_", "~$")) and part != ".." for part in path.parts)


def printable(name: str) -> str:
    """Return the file name with question marks for bytes that are not UTF-8, because a table cannot hold them."""
    return name.encode("utf-8", "replace").decode()


def without_compression(name: str) -> PurePosixPath:
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
    chosen = name
    number = taken.get(name, 1)
    while chosen in taken:
        number += 1
        chosen = f"{folder}{slash}{stem}#{number}{dot}{ending}"

    taken[name] = number
    taken.setdefault(chosen, 1)
    return chosen
