r"""Read and write word2vec's binary form: a line "WORDS DIMENSIONS", then for each word its bytes, a space, D float32.

Numbers are little-endian. word2vec's own program ends each entry with a line break, gensim does not; both are read.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import IO

import numpy as np

from ...atomic_files import new_file
from ...base import ModelError
from ..word_vectors import WordVectors
from .text_vectors import header_of, writable

LONGEST_WORD = 10_000
FLOAT = np.dtype("<f4")


def read_binary(path: Path, file: IO[bytes], only: Collection[str] | None = None) -> WordVectors:
    """Read word2vec's binary form; arguments as in `text_vectors.read_text`.

    Raises:
        ModelError: kind "input": names file and entry.
    """
    header = header_of(file.readline(LONGEST_WORD).decode("utf-8", "replace"))
    if header is None or not header[1]:
        raise ModelError(f"{path}, line 1: the numbers of words and dimensions are needed", "input")
    words, rows, seen = [], [], set[str]()
    for number in range(1, header[0] + 1):
        word = _word(path, file, number)
        raw = file.read(header[1] * FLOAT.itemsize)
        if len(raw) < header[1] * FLOAT.itemsize:
            raise _odd(path, number, f"the file ends inside this entry; its first line says {header[0]:,} words")
        vector_D = np.frombuffer(raw, FLOAT).astype(np.float32)
        if not np.isfinite(vector_D).all():
            raise _odd(path, number, f"the vector of {word[:40]!r} has a number that is not finite")
        if word in seen:
            continue
        seen.add(word)
        if only is None or word in only:
            words.append(word)
            rows.append(vector_D)
    if file.read(2).strip():
        raise _odd(path, header[0] + 1, f"the first line says {header[0]:,} words; the file has more")
    matrix_ND = np.stack(rows) if rows else np.zeros((0, header[1]), np.float32)
    facts = {"file": path.name, "words": len(seen), "repeated": header[0] - len(seen)}
    return WordVectors(words, matrix_ND, facts=facts)


def write_binary(path: Path, vectors: WordVectors) -> int:
    """Write word2vec's binary form; return the number of words, see `text_vectors.write_text`."""
    kept = writable(vectors)
    with new_file(path) as file:
        file.write(f"{len(kept)} {vectors.dimensions}\n".encode())
        for row in kept:
            file.write(vectors.words[row].encode() + b" " + vectors.matrix_ND[row].astype(FLOAT).tobytes() + b"\n")
    return len(kept)


def _word(path: Path, file: IO[bytes], number: int) -> str:
    letters = bytearray()
    while (one := file.read(1)) != b" ":
        if not one:
            raise _odd(path, number, "the file ends where a word is expected")
        if len(letters) > LONGEST_WORD:
            raise _odd(path, number, f"a word is longer than {LONGEST_WORD:,} bytes")
        if letters or one not in b"\r\n":
            letters += one
    try:
        return letters.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _odd(path, number, f"the word {bytes(letters[:40])!r} is not UTF-8 text") from error


def _odd(path: Path, number: int, what: str) -> ModelError:
    return ModelError(f"{path}, entry {number}: {what}", "input")
