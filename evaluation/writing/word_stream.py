"""Convert texts to streams of word fingerprints, to compare samples and training text for any vocabulary.

Words are the pieces of the word unit (`models/tokens/words.py`: words, numbers, punctuation, line breaks), case folded.
So a figure means the same for models of words, of sub-words and of characters, and `<unk>` never replaces a word. A
fingerprint is 64 bits wide: two different words share one with probability about 2^-64.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from reviewlm.corpus.duplicates.shingles import Fingerprints, bytes_of
from reviewlm.models.atomic_files import load_array
from reviewlm.models.tokens.words import cut, fold_texts

WORDS_FILE = "words.u64"
OFFSETS_FILE = "word_offsets.npy"
BASE = np.uint64(0x9FB21C651E98DF25)
"""Odd, so that multiplying by it loses no bit."""


@dataclass(frozen=True)
class WordStream:
    """D texts as words.

    Args:
        words_N: Fingerprints (N,) uint64 of all words, one text after another; may be a memory map.
        offsets: (D + 1,) position where each text begins, and the end.
    """

    words_N: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths_D(self) -> np.ndarray:
        """Number of words of each text."""
        return np.diff(self.offsets)

    def cut_at(self, words: int) -> WordStream:
        """Return each text cut to its first *words* words."""
        place_N = np.arange(len(self.words_N)) - np.repeat(self.offsets[:-1], self.lengths_D)
        lengths_D = np.minimum(self.lengths_D, words)
        return WordStream(
            self.words_N[place_N < words], np.concatenate([[0], np.cumsum(lengths_D)])
        )

    def documents_N(self) -> np.ndarray:
        """Return the number of the text that each word is in."""
        return np.repeat(np.arange(len(self)), self.lengths_D)

    def room_N(self) -> np.ndarray:
        """Return the number of words from each word to the end of its text, itself included."""
        return np.repeat(np.asarray(self.offsets[1:]), self.lengths_D) - np.arange(
            len(self.words_N)
        )


def pieces_of(texts: pl.Series) -> pl.Series:
    """Return the list of words of each text."""
    return cut(fold_texts(texts, fold=True)).list.eval(pl.element().str.strip_chars(" "))


def word_stream(texts: pl.Series) -> WordStream:
    """Return texts as words, in memory."""
    pieces = pieces_of(texts)
    lengths = pieces.list.len().cast(pl.Int64).to_numpy()
    flat = pieces.filter(lengths > 0).explode()
    if len(flat):
        words_N = Fingerprints(1).of(*bytes_of(flat))[0]
    else:
        words_N = np.zeros(0, np.uint64)

    return WordStream(words_N, np.concatenate([[0], np.cumsum(lengths)]))


def write_word_stream(folder: Path, batches: Iterable[pl.Series]) -> WordStream:
    """Write texts as words to *folder*, and return them memory-mapped.

    Memory: one batch, and 8 bytes per text.
    """
    lengths = [np.zeros(0, np.int64)]
    with (folder / WORDS_FILE).open("wb") as file:
        for texts in batches:
            stream = word_stream(texts)
            file.write(stream.words_N.data)
            lengths.append(stream.lengths_D)
    np.save(folder / OFFSETS_FILE, np.concatenate([[0], np.cumsum(np.concatenate(lengths))]))
    return open_word_stream(folder)


def open_word_stream(folder: Path) -> WordStream:
    """Open the files that `write_word_stream` wrote."""
    path = folder / WORDS_FILE
    words_N = np.zeros(0, np.uint64)
    if path.stat().st_size:
        words_N = np.memmap(path, np.uint64, "r")

    return WordStream(words_N, load_array(folder / OFFSETS_FILE))


def longer(
    hash_N: np.ndarray,
    words_N: np.ndarray,
    n: int,
) -> np.ndarray:
    """Return the fingerprints of all n-grams from those of the (n − 1)-grams: polynomials over the words' fingerprints.

    Args:
        hash_N: Fingerprints of the (n − 1)-grams, one for each word that begins one.
        n: At least 2.
    """
    return hash_N[: max(len(words_N) - n + 1, 0)] * BASE + words_N[n - 1 :]


def blocks(stream: WordStream, words: int) -> Iterator[tuple[int, WordStream]]:
    """Yield the begin of each block and whole texts of about *words* words, at least one text per block."""
    first = 0
    while first < len(stream):
        start = int(stream.offsets[first])
        last = max(first + 1, int(np.searchsorted(stream.offsets, start + words, side="right")) - 1)
        offsets = stream.offsets[first : last + 1]
        yield start, WordStream(np.asarray(stream.words_N[start : offsets[-1]]), offsets - start)
        first = last
