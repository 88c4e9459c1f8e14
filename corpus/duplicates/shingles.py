"""Convert texts to fingerprints of their word shingles, for the comparison of near-duplicates.

A shingle is a run of k consecutive words. A word is a run of letters, marks and digits in lower case, or one character
of a script without spaces between words. A text of fewer than k words is one shingle. The fingerprint of a shingle is
that of its bytes in the word form, where one space separates two words: a polynomial over random values of the bytes
modulo 2^64 (Karp and Rabin, 1987), mixed by the finaliser of SplitMix64. Prefix sums give the fingerprint of any part
at once. Two different shingles have the same fingerprint with probability about 2^-64. The values are the same in every
process and version.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

SLICE_BYTES = 1 << 17
"""Bytes that are fingerprinted at a time (more for one longer text); each takes 32 bytes of memory.

Small enough for the cache of a core: with slices of 2 MiB, the operating system spends as long on fresh pages."""

WITHOUT_SPACES = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
"""Characters of scripts without spaces between words; where words are counted, each is one word."""

_SPACE, _APOSTROPHE = ord(" "), ord("'")
_WORD_BYTES = np.arange(256, dtype=np.uint8)
"""What each byte becomes in the word form of a text in ASCII: letters and digits stay, in lower case."""
_WORD_BYTES[:128] = [ord(chr(byte).lower()) if chr(byte).isalnum() else _SPACE for byte in range(128)]
_GOLDEN = 0x9E3779B97F4A7C15
_BASE = 0xD1342543DE82EF95
_BASE_INVERSE = pow(_BASE, -1, 1 << 64)


def word_form(texts: pl.Series) -> pl.Series:
    """Return the words of each text, in lower case and separated by one space.

    Apostrophes are removed ("don't" and "dont" are one word). Everything else that is not a letter, mark or digit
    separates words. The characters of `WITHOUT_SPACES` become single words: otherwise a whole sentence would be one
    word, and no two long texts would be near-duplicates.
    """
    words = texts.str.to_lowercase().str.replace_all("['\u2019]", "")
    words = words.str.replace_all(WITHOUT_SPACES, " $0 ")
    return words.str.replace_all(r"[^\p{L}\p{M}\p{N}]+", " ").str.strip_chars(" ")


def simple_bytes(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the bytes of texts, one after another, and the D + 1 offsets of the texts in these.

    A text that is not in ASCII is replaced by its word form, so that `word_bytes` can do the rest with a table.
    """
    other = texts.str.len_bytes() > texts.str.len_chars()
    if other.any():
        texts = texts.clone().scatter(other.arg_true(), word_form(texts.filter(other)))  # changes what it is called on
    return bytes_of(texts)


def word_bytes(data: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the bytes of the word forms of texts, and their offsets, from the result of `simple_bytes`.

    This is four times as fast as `word_form`, and needs only numpy: the threads of polars may be busy with a sort.
    """
    data, offsets = _without(np.flatnonzero(data == _APOSTROPHE), data, offsets)
    data = np.take(_WORD_BYTES, data)
    space = data == _SPACE
    before_space = np.ones(len(space), bool)  # or before the end of a text
    before_space[:-1] = space[1:]
    before_space[offsets[1:][offsets[1:] > offsets[:-1]] - 1] = True
    data, offsets = _without(np.flatnonzero(space & before_space), data, offsets)
    first = offsets[:-1][offsets[1:] > offsets[:-1]]
    return _without(first[data[first] == _SPACE], data, offsets)


def _without(places: np.ndarray, data: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the bytes without those at *places* (ascending), and the offsets of the texts in the rest."""
    return (np.delete(data, places), offsets - np.searchsorted(places, offsets)) if len(places) else (data, offsets)


def word_counts(data: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return the number of words of each word form, (D,)."""
    return np.diff(np.searchsorted(np.flatnonzero(data == _SPACE), offsets)) + (offsets[1:] > offsets[:-1])


def chosen(mask_D: np.ndarray, data: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the bytes and offsets of some of the texts."""
    if mask_D.all():
        return data, offsets
    lengths = np.diff(offsets)
    return data[np.repeat(mask_D, lengths)], _from_zero(lengths[mask_D])


def slices(offsets: np.ndarray, size: int) -> Iterator[slice]:
    """Yield the ranges of stretches of about *size* bytes of a batch of texts, with at least one text each."""
    start, count = 0, len(offsets) - 1
    while start < count:
        stop = max(start + 1, int(np.searchsorted(offsets, offsets[start] + size, side="right")) - 1)
        yield slice(start, stop)
        start = stop


class Fingerprints:
    """A converter of word forms to fingerprints of their shingles; it keeps powers of the base between calls.

    Several threads may use it at the same time.
    """

    def __init__(self, shingle: int) -> None:
        self.shingle = shingle
        self._values = mix(np.arange(1, 257, dtype=np.uint64) * np.uint64(_GOLDEN))
        self._tables = (np.ones(0, np.uint64),) * 2

    def of(self, data_N: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the fingerprints of each text's shingles.

        Args:
            data_N: The UTF-8 bytes of D word forms, one after another.
            offsets: (D + 1,) where each word form begins, and where the last one ends.

        Returns:
            Fingerprints (S,) as uint64, in the order of the text and with repeats, and (D + 1,) offsets into them. A
            text of w words has max(1, w - shingle + 1) fingerprints, a text without words none.
        """
        powers, inverses = self._powers_of_base(len(data_N))
        first, last, shingle_offsets = self._bounds(data_N, offsets)
        prefix = np.zeros(len(data_N) + 1, np.uint64)
        np.take(self._values, data_N, out=prefix[1:])
        prefix[1:] *= powers[: len(data_N)]
        np.cumsum(prefix, out=prefix)
        fingerprints = prefix[last] - prefix[first]
        fingerprints *= inverses[first]
        return mix(fingerprints), shingle_offsets

    def _bounds(self, data_N: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return first byte and end of each shingle, and the offsets of each text into them."""
        spaces = np.flatnonzero(data_N == _SPACE)
        filled = offsets[1:] > offsets[:-1]
        starts = np.sort(np.concatenate([offsets[:-1][filled], spaces + 1]), kind="stable")
        ends = np.sort(np.concatenate([offsets[1:][filled], spaces]), kind="stable")
        words = np.diff(np.searchsorted(spaces, offsets)) + filled
        shingles = np.where(filled, np.maximum(words - self.shingle + 1, 1), 0)
        before_words, before_shingles = _from_zero(words), _from_zero(shingles)
        first = np.arange(before_shingles[-1]) + np.repeat(before_words[:-1] - before_shingles[:-1], shingles)
        last = np.minimum(first + self.shingle, np.repeat(before_words[1:], shingles)) - 1
        return starts[first], ends[last], before_shingles

    def _powers_of_base(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return at least *size* powers of the base and of its inverse."""
        tables = self._tables
        if len(tables[0]) < size:
            tables = self._tables = _powers(_BASE, size), _powers(_BASE_INVERSE, size)
        return tables


def distinct(fingerprints: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return the number of different fingerprints of each text (D,) int64.

    They are compared by 44 of their bits: two different ones of one text agree in these once in about 10^13 pairs.

    Args:
        fingerprints: Fingerprints of the shingles of all texts, fewer than 2^20 texts.
        offsets: (D + 1,) where those of each text begin, and where the last ones end.
    """
    text = np.repeat(np.arange(len(offsets) - 1, dtype=np.uint64), np.diff(offsets))
    arranged = np.sort(text << np.uint64(44) | fingerprints >> np.uint64(20))
    new = np.ones(len(arranged), bool)
    new[1:] = arranged[1:] != arranged[:-1]
    return np.bincount((arranged[new] >> np.uint64(44)).astype(np.intp), minlength=len(offsets) - 1)


def bytes_of(words: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the UTF-8 bytes of texts, one after another, and the D + 1 offsets of the texts in these bytes."""
    array = words.to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, data = array.buffers()
    offset_D = np.frombuffer(offsets, np.int64, len(array) + 1, array.offset * 8)
    data_N = np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(0, np.uint8)
    return data_N[offset_D[0] : offset_D[-1]], offset_D - offset_D[0]


def mix(values: np.ndarray) -> np.ndarray:
    """Apply the finaliser of SplitMix64 to uint64 values (Steele, Lea and Flood, 2014): a bijection."""
    values = values ^ (values >> np.uint64(30))
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


def _from_zero(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)])


def _powers(base: int, size: int) -> np.ndarray:
    powers = np.full(size, base, np.uint64)
    powers[:1] = 1
    return np.cumprod(powers, dtype=np.uint64)
