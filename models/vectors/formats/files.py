"""Read vectors from a path of any known form, and write them in a named one."""

from __future__ import annotations

import gzip
from collections.abc import Collection
from pathlib import Path
from typing import IO, Literal

from ...base import ModelError, stored
from ..word_vectors import HEADER, WordVectors
from .binary_vectors import FLOAT, read_binary, write_binary
from .fasttext_model import read_fasttext
from .text_vectors import LONGEST, header_of, is_number, read_text, write_text

Form = Literal["word2vec", "binary", "glove", "fasttext"]
GZIP, FASTTEXT = b"\x1f\x8b", b"\xba\x16\x4f\x2f"
"""First bytes of a gzip file, and of a whole fastText model (.bin)."""


def read_vectors(path: Path, only: Collection[str] | None = None) -> WordVectors:
    """Read vectors: a folder that `WordVectors.save` wrote, or a file of word2vec, GloVe or fastText, also gzipped.

    A fastText model (.bin) also makes vectors of words that it does not know.

    Args:
        path: Folder or file; the form of a file is seen from its content.
        only: Words to keep of a file, so that a large one does not fill the memory; None: all.

    Raises:
        ModelError: kind "input": names file and line; kind "bundle": the folder is damaged.
    """
    if path.is_dir():
        if not (path / HEADER).exists():
            raise ModelError(f"{path} holds no word vectors: {HEADER} is missing", "input")
        return WordVectors.load(path)
    with stored(f"the vector file {path}", "input"), path.open("rb") as raw:
        packed = raw.read(2) == GZIP
        raw.seek(0)
        with gzip.open(raw) if packed else raw as file:
            return _read(path, file, only)  # type: ignore[arg-type]


def _read(path: Path, file: IO[bytes], only: Collection[str] | None) -> WordVectors:
    begin = file.read(len(FASTTEXT))
    file.seek(0)
    if begin == FASTTEXT:
        return read_fasttext(path, file, only)
    binary = _is_binary(file)
    file.seek(0)
    return read_binary(path, file, only) if binary else read_text(path, file, only)


def _is_binary(file: IO[bytes]) -> bool:
    """Return whether a file that begins with a line of two numbers goes on with bytes that are no line of text.

    A few float32 may happen to be printable. So a first line that is none of a text is binary too if a line break
    follows where its numbers would end.
    """
    header = header_of(file.readline(LONGEST).decode("utf-8", "replace"))
    if header is None:
        return False
    (_, dimensions), begin = header, file.tell()
    try:
        line = file.readline(LONGEST).decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        return True
    if any(char < " " and char != "\t" for char in line):
        return True
    word, *numbers = line.split() or [""]
    if len(numbers) == dimensions and all(map(is_number, numbers)):
        return False
    file.seek(begin + len(word.encode()) + 1 + FLOAT.itemsize * dimensions)
    return file.read(1) == b"\n"


def write_vectors(path: Path, vectors: WordVectors, form: Form) -> int:
    """Write vectors to a file; return the number of words written.

    Args:
        vectors: The vectors; words with white space are left out.
        form: "word2vec" (text) and "fasttext" (.vec) are the same; "binary" is word2vec's; "glove" has no first line.

    Raises:
        ModelError: kind "disk": the file cannot be written.
    """
    return write_binary(path, vectors) if form == "binary" else write_text(path, vectors, header=form != "glove")
