"""Read and write vectors as text: a word and its numbers on each line, between spaces or tabs.

word2vec's text and fastText's .vec begin with a line "WORDS DIMENSIONS"; GloVe has none. The last D fields of a line
are the numbers and everything before them is the word: some published files have words with spaces ("to name@x.com").
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from ...atomic_files import new_file
from ...base import ModelError
from ...text.byte_order import UTF8, mark_length
from ..word_vectors import WordVectors

BLANKS = re.compile(r"[ \t]+")
LONGEST = 2_000_000
"""Most bytes of a line; a longer one belongs to another kind of file."""


def read_text(path: Path, file: IO[bytes], only: Collection[str] | None = None) -> WordVectors:
    """Read word2vec's text, GloVe's text or a fastText .vec file.

    Of a word with several lines the first one counts; `facts["repeated"]` is the number of the others.

    Args:
        path: Name of the file, for messages.
        file: Its content.
        only: Words to keep; None: all.

    Raises:
        ModelError: kind "input": names file and line.
    """
    words, rows, seen, repeated = [], [], set[str](), 0
    header: tuple[int, int] | None = None
    dimensions, lines = 0, 0
    for number, line in _lines(path, file):
        if number == 1 and (header := header_of(line)) is not None:
            dimensions = header[1]
            continue
        dimensions = dimensions or line.count(" ")
        word, numbers = _cut(path, number, line, dimensions)
        lines += 1
        if header and lines > header[0]:
            raise _odd(path, number, f"the first line says {header[0]:,} words; here is one more")
        if word in seen:
            repeated += 1
            continue
        seen.add(word)
        vector_D = _numbers(path, number, numbers)
        if only is None or word in only:
            words.append(word)
            rows.append(vector_D)
    if header and lines < header[0]:
        raise _odd(path, lines + 2, f"the file ends after {lines:,} words; its first line says {header[0]:,}")
    if not lines:
        raise _odd(path, 1, "there are no vectors")
    matrix_ND = np.stack(rows) if rows else np.zeros((0, dimensions), np.float32)
    return WordVectors(words, matrix_ND, facts={"file": path.name, "words": len(seen), "repeated": repeated})


def write_text(path: Path, vectors: WordVectors, header: bool) -> int:
    """Write vectors as text; return the number of words.

    Words with white space, such as line breaks, are left out: other programs could not read the file.

    Args:
        vectors: What to write; a number is written so that it reads as the same float32.
        header: Begin with the number of words and dimensions (word2vec, fastText); GloVe has no such line.
    """
    kept = writable(vectors)
    with new_file(path) as file:
        if header:
            file.write(f"{len(kept)} {vectors.dimensions}\n".encode())
        for row in kept:
            numbers = " ".join(f"{value:.9g}" for value in vectors.matrix_ND[row].tolist())
            file.write(f"{vectors.words[row]} {numbers}\n".encode())
    return len(kept)


def writable(vectors: WordVectors) -> list[int]:
    """Return the places of the words that vector files can hold: not empty, without white space."""
    return [row for row, word in enumerate(vectors.words) if word and not any(char.isspace() for char in word)]


def header_of(line: str) -> tuple[int, int] | None:
    """Return words and dimensions of a first line that has just these two whole numbers, else None."""
    fields = line.removeprefix("\ufeff").split()
    return (int(fields[0]), int(fields[1])) if len(fields) == 2 and all(map(str.isdecimal, fields)) else None


def _lines(path: Path, file: IO[bytes]) -> Iterator[tuple[int, str]]:
    number = 0
    while raw := file.readline(LONGEST):
        number += 1
        if number == 1:
            raw = raw[mark_length(path, raw[: len(UTF8)]) :]
        if len(raw) == LONGEST:
            raise _odd(path, number, "the line is longer than 2 MB")
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _odd(path, number, f"the line is not UTF-8 text: {error.reason} at byte {error.start}") from error
        if "\t" in line or "  " in line or line[:1] == " ":  # columns that are aligned or between tabs
            line = BLANKS.sub(" ", line).lstrip(" ")
        yield number, line.rstrip("\n").rstrip(" \r")


def _cut(path: Path, number: int, line: str, dimensions: int) -> tuple[str, list[str]]:
    fields = line.rsplit(" ", dimensions) if dimensions else [line]
    if len(fields) != dimensions + 1 or dimensions == 0 or not fields[0]:
        found = line.count(" ")
        raise _odd(path, number, f"a word and {dimensions or 'some'} numbers are needed; there are {found} numbers")
    return fields[0], fields[1:]


def _numbers(path: Path, number: int, fields: list[str]) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):
            vector_D = np.array(fields, np.float64).astype(np.float32)
    except ValueError:
        wrong = next(field for field in fields if not is_number(field))
        raise _odd(path, number, f"{wrong[:40]!r} is not a number") from None
    if not np.isfinite(vector_D).all():
        wrong = fields[int(np.flatnonzero(~np.isfinite(vector_D))[0])]
        raise _odd(path, number, f"{wrong[:40]!r} is not a finite number of 32 bits")
    return vector_D


def is_number(field: str) -> bool:
    """Return whether a field of a line is a number."""
    try:
        float(field)
    except ValueError:
        return False
    return True


def _odd(path: Path, number: int, what: str) -> ModelError:
    return ModelError(f"{path}, line {number}: {what}", "input")
