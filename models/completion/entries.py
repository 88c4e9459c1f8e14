"""Index vocabulary entries by their text (sorted array), so that the entries with a given prefix are one range."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Sequence
from functools import lru_cache

import numpy as np

from ..tokens.vocabulary import Vocabulary
from ..tokens.words import FIRST


class EntryIndex:
    """Entries sorted by their text in UTF-8.

    Args:
        texts: Text of each entry, not empty.
        ids: Number of each entry.

    Attributes:
        texts: The texts, sorted.
        ids_E: Their numbers.
    """

    def __init__(self, texts: Sequence[bytes], ids: Sequence[int]) -> None:
        order = sorted(range(len(texts)), key=texts.__getitem__)
        self.texts = [texts[place] for place in order]
        self.ids_E = np.array([ids[place] for place in order], np.int64)
        self.place = lru_cache(maxsize=1 << 16)(self._place)
        self.split = lru_cache(maxsize=1 << 14)(self._split)

    def _place(self, beginning: bytes) -> tuple[int, int, int]:
        """Return the range of the entries that begin so, and where those that are longer begin."""
        low, length = bisect_left(self.texts, beginning), len(beginning)
        high = bisect_right(self.texts, beginning, lo=low, key=lambda text: text[:length])
        return low, high, bisect_right(self.texts, beginning, lo=low, hi=high)

    def range(self, beginning: bytes) -> tuple[int, int]:
        """Return the range of the entries that begin so."""
        return self.place(beginning)[:2]

    def _split(self, beginning: bytes) -> tuple[np.ndarray, np.ndarray]:
        """Return the bytes that follow this beginning in longer entries (G), and the bounds of their ranges (G + 1)."""
        (_, high, low), depth = self.place(beginning), len(beginning)
        next_E = np.array([text[depth] for text in self.texts[low:high]], np.uint8)
        firsts = np.flatnonzero(np.diff(next_E, prepend=-1)) if len(next_E) else np.zeros(0, np.int64)
        return next_E[firsts], np.concatenate([low + firsts, [high]]).astype(np.int64)

    def fits(self, text: bytes) -> bool:
        """Return whether an entry begins with this text, or this text with an entry."""
        low, high = self.range(text)
        return high > low or any(self._has(text[:end]) for end in range(1, len(text)))

    def _has(self, text: bytes) -> bool:
        place = bisect_left(self.texts, text)
        return place < len(self.texts) and self.texts[place] == text


class Texts:
    """The indexes of one vocabulary. Words look different after a space or at the start of a sentence.

    Args:
        vocabulary: Any vocabulary.

    Attributes:
        word_parts: Ids of the entries that continue a word.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._indexes: dict[Hashable, EntryIndex] = {}
        self.word_parts = np.flatnonzero(vocabulary.word_part_V)

    def after(self, text: str) -> EntryIndex:
        """Return the entries as they continue a text."""
        place = self._vocabulary.place(text)
        if place not in self._indexes:
            texts = self._vocabulary.texts_after(text)
            self._indexes[place] = EntryIndex(texts, range(FIRST, FIRST + len(texts)))
        return self._indexes[place]


@lru_cache(maxsize=8)
def texts_of(vocabulary: Vocabulary) -> Texts:
    """Return the indexes of a vocabulary, the same for each call: building one takes some hundredths of a second."""
    return Texts(vocabulary)
