"""Look up words in compiled code: a hash table with open addressing over the words' own bytes, and no Python objects.

It takes the place of a dictionary where single sentences are scored: at V words it has up to 64 V bytes and the words
themselves, where a dictionary has a hundred for each word.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from training.ngram.lines.text_corpus import BEGIN, END, MARKS, UNK

_FREE = -1
_MOST = 1 << 31


class WordTable:
    """The id of each word, and at `address` an array (int64) that compiled code reads.

    It holds the address of the slots, their number − 1, the address of the words (UTF-8, a line each), V, and the ids
    of unknown words, of the begin and of the end. A slot has the FNV-1a hash of a word and `place · 2³² + id`, where
    the place is that of its first byte; −1: a free slot. At least half of the slots are free. Ids from V on are the
    marks as words of a text: `<unk>` is an unknown word, the others are not text.

    The addresses are right as long as this object is alive.

    Args:
        kernels: The module `step_kernels`.
        words: UTF-8, each word and then a line feed, and after them the marks in the same way.
    """

    def __init__(self, kernels: Any, words: bytes) -> None:
        lines = words.count(b"\n")
        self._words_B = np.frombuffer(words, np.uint8)
        self._slot_S2: np.ndarray = np.full((1 << (2 * lines - 1).bit_length(), 2), _FREE, np.int64)
        text, slots = self._words_B.ctypes.data, self._slot_S2.ctypes.data
        numbers = slots, len(self._slot_S2) - 1, text, lines - len(MARKS), UNK, BEGIN, END
        self._numbers = np.array(numbers, np.int64)
        self.address = int(self._numbers.ctypes.data)
        kernels.fill_words(text, len(words), self.address, self._slot_S2)

    @classmethod
    def of(cls, kernels: Any, words: str, size: int) -> Self | None:
        """Return the table of *size* words, a line each; None: they are not so many lines, or above 2 GiB."""
        encoded = (words + "".join(f"{mark}\n" for mark in MARKS)).encode("utf-8", "surrogatepass")
        lines = words.count("\n")
        return cls(kernels, encoded) if lines == size and words.endswith("\n") and len(encoded) < _MOST else None

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self._words_B.nbytes + self._slot_S2.nbytes
