"""Read a whole fastText model (.bin): word vectors, and vectors of the character n-grams from which others are made.

A word's vector is the mean of its own row and the rows of its n-grams; a word that the model does not know gets the
mean of its n-grams alone (Bojanowski et al. 2017). The n-grams of a word are cut from "<word>", `minn` to `maxn`
characters long, and share the rows of a table by the hash FNV-1a of their bytes; as in fastText's own program, bytes
above 127 are read as negative numbers.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from ...base import ModelError
from ..word_vectors import WordVectors
from .binary_vectors import FLOAT

MAGIC, VERSIONS = 793712314, (11, 12)
END = "</s>"
SIZES = ("dim", "ws", "epoch", "min_count", "neg", "word_ngrams", "loss", "model", "bucket", "minn", "maxn", "lr_rate")
SUPERVISED = 3
LONGEST_WORD = 10_000


class SubwordVectors(WordVectors):
    """Word vectors with the vectors of character n-grams, for words that have none.

    Args:
        words: The words.
        matrix_ND: Their vectors.
        counts: How often each occurred.
        facts: Facts about the file.
        ngrams_BD: Vectors of hashed n-grams.
        shortest, longest: Characters of an n-gram.
    """

    def __init__(
        self, words: list[str], matrix_ND: np.ndarray, counts: list[int], facts: dict[str, Any], ngrams_BD: np.ndarray,
        shortest: int, longest: int,
    ) -> None:  # fmt: skip
        super().__init__(words, matrix_ND, counts, facts)
        self.ngrams_BD, self.lengths = ngrams_BD, (shortest, longest)

    def from_parts(self, word: str) -> np.ndarray | None:
        """Return the mean vector of a word's n-grams; None if it has none."""
        rows = [ngram_hash(ngram) % len(self.ngrams_BD) for ngram in ngrams(word, *self.lengths)]
        return np.asarray(self.ngrams_BD[rows].mean(0)) if rows else None


def ngrams(word: str, shortest: int, longest: int) -> Iterator[str]:
    """Yield the character n-grams of "<word>", without a single "<" or ">"."""
    framed = f"<{word}>"
    for begin in range(len(framed)):
        for end in range(begin + max(shortest, 1), min(begin + longest, len(framed)) + 1):
            if end - begin > 1 or 0 < begin < len(framed) - 1:
                yield framed[begin:end]


def ngram_hash(ngram: str) -> int:
    """Return FNV-1a of the UTF-8 bytes, 32 bits, each byte extended with its sign."""
    found = 2166136261
    for byte in ngram.encode():
        found = ((found ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * 16777619) & 0xFFFFFFFF
    return found


def read_fasttext(path: Path, file: IO[bytes], only: Collection[str] | None = None) -> SubwordVectors:
    """Read a fastText model; arguments as in `text_vectors.read_text`.

    Raises:
        ModelError: kind "input": the file is cut, compressed by quantization, a classifier, or of another version.
    """
    magic, version = _numbers(path, file, "<2i")
    if magic != MAGIC or version not in VERSIONS:
        raise ModelError(f"{path} is not a fastText model of version 11 or 12 (found: {version})", "input")
    sizes = dict(zip(SIZES, _numbers(path, file, "<12i"), strict=True))
    _numbers(path, file, "<d")
    entries, count, _, _, pruned = _numbers(path, file, "<3i2q")
    if sizes["model"] == SUPERVISED or pruned >= 0:
        raise ModelError(f"{path} is a fastText classifier or a pruned model; word vectors are needed", "input")
    known = [_entry(path, file, number) for number in range(1, entries + 1)]
    if _numbers(path, file, "<?")[0]:
        raise ModelError(f"{path} is a fastText model compressed by quantization; it cannot be read", "input")
    rows, columns = _numbers(path, file, "<2q")
    if (rows, columns) != (count + sizes["bucket"], sizes["dim"]) or len(known) != count:
        raise ModelError(f"{path}: {rows} rows of {columns} numbers do not fit {count} words", "input")
    table = _table(path, file, rows, columns)
    lengths = (sizes["minn"], sizes["maxn"]) if sizes["bucket"] else (1, 0)
    kept = [number for number, (word, _) in enumerate(known) if only is None or word in only]
    matrix_ND = np.zeros((len(kept), columns), np.float32)
    for place, number in enumerate(kept):
        word = known[number][0]
        parts = () if word == END else ngrams(word, *lengths)
        hashed = [count + ngram_hash(ngram) % sizes["bucket"] for ngram in parts]
        matrix_ND[place] = table[[number, *hashed]].mean(0)
    facts = {"file": path.name, "words": count, "repeated": 0}
    words = [known[number][0] for number in kept]
    return SubwordVectors(words, matrix_ND, [known[n][1] for n in kept], facts, table[count:], *lengths)


def _table(path: Path, file: IO[bytes], rows: int, columns: int) -> np.ndarray:
    """Return the vectors (rows, columns); of a file that is not packed only those that are used are read.

    A published model has 2 million words and 2 million n-grams: 4.8 GB, of which a vocabulary needs a few percent.
    """
    if not isinstance(file, gzip.GzipFile):
        begin, needed = file.tell(), FLOAT.itemsize * rows * columns
        if path.stat().st_size - begin < needed:
            raise ModelError(f"{path}: the file ends inside the vectors", "input")
        return np.memmap(path, FLOAT, "r", begin, (rows, columns)) if needed else np.zeros((rows, columns), FLOAT)
    raw = file.read(FLOAT.itemsize * rows * columns)
    if len(raw) < FLOAT.itemsize * rows * columns:
        raise ModelError(f"{path}: the file ends inside the vectors", "input")
    return np.frombuffer(raw, FLOAT).reshape(rows, columns)


def _numbers(path: Path, file: IO[bytes], form: str) -> tuple[Any, ...]:
    raw = file.read(struct.calcsize(form))
    if len(raw) < struct.calcsize(form):
        raise ModelError(f"{path}: the file ends inside its header", "input")
    return struct.unpack(form, raw)


def _entry(path: Path, file: IO[bytes], number: int) -> tuple[str, int]:
    """Return the word and the count of an entry of the dictionary."""
    letters = bytearray()
    while (one := file.read(1)) != b"\x00":
        if not one or len(letters) > LONGEST_WORD:
            raise ModelError(f"{path}, entry {number}: the word has no end", "input")
        letters += one
    occurrences, _ = _numbers(path, file, "<qb")
    try:
        return letters.decode("utf-8"), int(occurrences)
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}, entry {number}: the word {bytes(letters[:40])!r} is not UTF-8", "input") from error
