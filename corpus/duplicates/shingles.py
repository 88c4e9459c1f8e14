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

Forms = tuple[np.ndarray, np.ndarray]
"""Bytes of D texts in word form, one after another, and D + 1 offsets: where each begins and the last one ends."""

WITHOUT_SPACES = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
"""Characters of scripts without spaces between words; where words are counted, each is one word."""

_WORD_BYTES = np.arange(256, dtype=np.uint8)
"""What each byte becomes in the word form of a text in ASCII: letters and digits stay, in lower case."""
_WORD_BYTES[:128] = [
    ord(chr(byte).lower()) if chr(byte).isalnum() else ord(" ") for byte in range(128)
]
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
        # `scatter` changes what it is called on.
        texts = texts.clone().scatter(other.arg_true(), word_form(texts.filter(other)))
    return bytes_of(texts)


def word_bytes(
    data: np.ndarray,
    offsets: np.ndarray,
    least: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Convert the result of `simple_bytes` to word forms with a table, several times as fast as `word_form`.

    Args:
        data: The bytes of D texts.
        offsets: Their offsets (D + 1,).
        least: Texts with fewer words are left out.

    Returns:
        The bytes of the word forms of the K texts that stay, one after another; their offsets (K + 1,); the number of
        words of every text (D,).
    """
    # Here, because numba's import takes half a second.
    from reviewlm.corpus.duplicates import kernels

    forms = np.empty(len(data), np.uint8)
    ends = np.zeros(len(offsets), np.int64)
    words = np.empty(len(offsets) - 1, np.int64)
    kernels.word_forms(
        data,
        offsets,
        _WORD_BYTES,
        least,
        forms,
        ends[1:],
        words,
    )
    kept_ends = ends[1:][words >= least]
    return forms[: ends[-1]], np.concatenate([ends[:1], kept_ends]), words


def part_of(
    part: slice,
    data: np.ndarray,
    offsets: np.ndarray,
) -> Forms:
    """Return the bytes and offsets of a range of texts."""
    ends = offsets[part.start : part.stop + 1]
    return data[ends[0] : ends[-1]], ends - ends[0]


def slices(offsets: np.ndarray, size: int) -> Iterator[slice]:
    """Yield the ranges of stretches of about *size* bytes of a batch of texts, with at least one text each."""
    start = 0
    count = len(offsets) - 1
    while start < count:
        stop = max(
            start + 1, int(np.searchsorted(offsets, offsets[start] + size, side="right")) - 1
        )
        yield slice(start, stop)
        start = stop


def stretches_of(chosen_D: np.ndarray, offsets: np.ndarray) -> Iterator[slice]:
    """Yield the ranges of stretches of about `SLICE_BYTES` of the chosen ones of D texts, given by a mask."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen_D, [False]])))
    for begin, end in edges.reshape(-1, 2).tolist():
        for part in slices(offsets[begin : end + 1], SLICE_BYTES):
            yield slice(begin + part.start, begin + part.stop)


def chosen_forms(
    data: np.ndarray,
    offsets: np.ndarray,
    chosen_D: np.ndarray,
) -> Iterator[Forms]:
    """Yield the chosen ones of D texts in word form, some at a time."""
    for part in stretches_of(chosen_D, offsets):
        yield part_of(part, data, offsets)


class Fingerprints:
    """A converter of word forms to fingerprints of their shingles; it keeps powers of the base between calls.

    Several threads may use it at the same time.

    Args:
        shingle: Words in a shingle.
        short: Whether a text with fewer words is one shingle; else it has none.
    """

    def __init__(self, shingle: int, short: bool = True) -> None:
        self.shingle = shingle
        self.short = short
        self._values = mix(np.arange(1, 257, dtype=np.uint64) * np.uint64(_GOLDEN))
        self._powers = np.ones((2, 0), np.uint64)

    def of(self, data_N: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the fingerprints of each text's shingles.

        Args:
            data_N: The UTF-8 bytes of D word forms, one after another.
            offsets: (D + 1,) where each word form begins, and where the last one ends.

        Returns:
            Fingerprints (S,) as uint64, in the order of the text and with repeats, and (D + 1,) offsets into them. A
            text of w words has w - shingle + 1 fingerprints, a shorter one 1 if *short*, a text without words none.
        """
        # Here, because numba's import takes half a second.
        from reviewlm.corpus.duplicates import kernels

        longest = int(np.diff(offsets).max(initial=0))
        powers = self._powers_of_base(longest)
        sums = np.empty((2, longest + 2), np.uint64)
        starts = np.empty(longest + 2, np.int64)
        found_S = np.empty(len(data_N) // 2 + len(offsets), np.uint64)
        shingles_end = np.zeros(len(offsets), np.int64)
        rule = self.shingle, int(self.short)
        kernels.fingerprints(
            data_N,
            offsets,
            *rule,
            self._values,
            powers,
            sums,
            starts,
            found_S,
            shingles_end[1:],
        )
        return found_S[: shingles_end[-1]], shingles_end

    def _powers_of_base(self, size: int) -> np.ndarray:
        """Return at least *size* powers of the base and of its inverse (2, size)."""
        powers = self._powers
        if powers.shape[1] < size:
            powers = self._powers = np.stack(
                [_powers(_BASE, 2 * size), _powers(_BASE_INVERSE, 2 * size)]
            )
        return powers


def sets(fingerprints: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the different fingerprints of each text, and the offsets (D + 1,) of the texts in these.

    Args:
        fingerprints: Fingerprints of the shingles of all texts.
        offsets: (D + 1,) where those of each text begin, and where the last ones end.
    """
    # Here, because numba's import takes half a second.
    from reviewlm.corpus.duplicates import kernels

    members = np.empty_like(fingerprints)
    ends = np.zeros(len(offsets), np.int64)
    kernels.sets(
        fingerprints,
        offsets,
        *hash_table(offsets),
        members,
        ends[1:],
    )
    return members[: ends[-1]], ends


def hash_table(offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return an empty hash table for the fingerprints of the longest text: values and their owners."""
    size = 1 << (2 * int(np.diff(offsets).max(initial=0))).bit_length()
    return np.empty(size, np.uint64), np.zeros(size, np.int64)


def bytes_of(words: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the UTF-8 bytes of texts, one after another, and the D + 1 offsets of the texts in these bytes."""
    array = words.to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, data = array.buffers()
    offset_D = np.frombuffer(offsets, np.int64, len(array) + 1, array.offset * 8)
    if data is not None and data.size:
        data_N = np.frombuffer(data, np.uint8)
    else:
        data_N = np.zeros(0, np.uint8)

    return data_N[offset_D[0] : offset_D[-1]], offset_D - offset_D[0]


def mix(values: np.ndarray) -> np.ndarray:
    """Apply the finaliser of SplitMix64 to uint64 values (Steele, Lea and Flood, 2014): a bijection."""
    values = values ^ (values >> np.uint64(30))
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


def _powers(base: int, size: int) -> np.ndarray:
    powers = np.full(size, base, np.uint64)
    powers[:1] = 1
    return np.cumprod(powers, dtype=np.uint64)
