"""Measure defects of texts: traces of a wrong encoding, and words or characters repeated many times in a row.

Texts become arrays of bytes, since one pass over all bytes is faster than work text by text.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from data_checks.metrics.tables import Measure

PIECE = 2 << 20


def pieces(texts: pl.Series) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield the texts in pieces of about `PIECE` bytes, so that arrays computed from a piece fit the processor's cache.

    A missing text counts as empty. A line break follows each text.

    Yields:
        The number of the first text, the UTF-8 bytes of the piece's texts, and the position at which each text begins
        in these bytes, with the end (N+1).
    """
    filled = texts.fill_null("") if texts.null_count() else texts
    ends: np.ndarray = filled.str.len_bytes().cast(pl.Int64).cum_sum().to_numpy()
    cuts = np.flatnonzero(np.diff(ends // PIECE, prepend=-1)).tolist()
    for first, last in zip(cuts, [*cuts[1:], len(texts)], strict=False):
        begins, codes = _bytes(filled[first:last] + "\n")
        yield first, codes, begins


def _bytes(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the position at which each text begins, with the end (N+1), and the bytes of all texts."""
    _, offsets, codes = texts.to_arrow(compat_level=pl.CompatLevel.oldest()).buffers()
    begins = np.frombuffer(offsets, np.int64, len(texts) + 1)
    return begins, np.frombuffer(codes, np.uint8, int(begins[-1])) if begins[-1] else np.zeros(0, np.uint8)


def text_of(begins: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the number of the text that each position is in."""
    return np.searchsorted(begins, places, side="right") - 1


MOJIBAKE = (
    "\u00C3[\u0080-\u00BF\u0192\u0152\u0153\u0160\u0161\u0178\u017D\u017E\u02C6\u02DC\u2013-\u203A\u20AC\u2122]"
    "|\u00C2[\u0080-\u00BF]"
    "|\u00E2[\u0080\u20AC][\u0080-\u00BF\u0152\u0153\u0161\u02DC\u201C\u201D\u2122]"
    "|\u00EF\u00BB\u00BF|\u00EF\u00BF\u00BD|\u00F0\u0178|\uFFFD"
)
"""Pattern of UTF-8 that was read as Latin-1 or Windows-1252, and of the replacement character U+FFFD.

The misread characters are an accented letter, a sign above U+007F, a curly quotation mark or dash, a byte order mark,
or an emoji."""
SHORTEST_RUN = 8
"""Shortest run of a character that is measured. Aligned groups of four equal bytes show which texts to search."""
SPACE = 32
COMPARED = 64
TOGETHER = 5_000
"""Number of texts whose characters are searched in one step."""


def runs_of(texts: pl.Series) -> pl.DataFrame:
    """Return the longest run of one word and the longest run of one character in each text.

    Returns:
        `word_run`: 3 for "no no no", 1 for a text without a repetition, 0 for an empty or missing text. Words are
        separated by single spaces or line breaks and compared as written. Two separators in a row end a run.
        `character_run`: 9 for "sooooooooo", 1 if the longest run is shorter than 8, 0 for an empty or missing text.
        Spaces and line breaks do not count.
    """
    words = (texts.str.len_bytes().fill_null(0) > 0).to_numpy().astype(np.int32)
    characters = words.copy()
    suspect: np.ndarray = (texts.str.len_bytes() != texts.str.len_chars()).fill_null(False).to_numpy().copy()
    for first, codes, begins in pieces(texts):
        _raise(words, first, *_word_runs(codes, begins))
        suspect[first + _with_equal_bytes(codes, begins)] = True
    suspects = np.flatnonzero(suspect)
    for some in np.array_split(suspects, len(suspects) // TOGETHER + 1) if len(suspects) else ():
        which, runs = _character_runs(*_characters(texts.gather(some)))
        _raise(characters, 0, some[which], runs)
    return pl.DataFrame({"word_run": words, "character_run": characters})


def _raise(longest: np.ndarray, first: int, texts: np.ndarray, runs: np.ndarray) -> None:
    np.maximum.at(longest, first + texts, runs)


def _word_runs(codes: np.ndarray, begins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the runs of two or more equal words: the number of the text, and the length."""
    # Every text is followed by a line break, so every word ends with a byte of at most `SPACE`.
    ends = np.flatnonzero(codes <= SPACE).astype(np.int32)
    lengths = np.empty_like(ends)
    lengths[0] = ends[0] + 1
    np.subtract(ends[1:], ends[:-1], out=lengths[1:])
    pairs = np.flatnonzero((lengths[1:] == lengths[:-1]) & (lengths[1:] > 1))
    # Nine in ten pairs of words with equal length differ in their last byte.
    pairs = pairs[codes[ends[pairs] - 1] == codes[ends[pairs + 1] - 1]]
    starts = ends[pairs] - lengths[pairs] + 1
    equal = _equal(codes, starts, ends[pairs] + 1, lengths[pairs] - 1)
    pairs, starts = pairs[equal], starts[equal]
    inside = text_of(begins, starts) == text_of(begins, ends[pairs] + 1)
    pairs, starts = pairs[inside], starts[inside]
    which, runs = _runs(pairs)
    return text_of(begins, starts[which]), runs


def _character_runs(codes: np.ndarray, begins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the runs of at least `SHORTEST_RUN` equal characters: the number of the text, and the length."""
    pairs = np.flatnonzero((codes[1:] == codes[:-1]) & (codes[1:] > SPACE))
    which, runs = _runs(pairs)
    long = runs >= SHORTEST_RUN
    return text_of(begins, pairs[which][long]), runs[long]


MEASURES = {name: Measure("text", pl.Int32(), runs_of) for name in ("word_run", "character_run")}
"""Columns that the suites check in addition to those of a table with texts."""


def _characters(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return all characters (Unicode code points), and the position at which each text begins, with the end."""
    ended = texts.fill_null("") + "\n"
    begins = np.concatenate([[0], np.cumsum(ended.str.len_chars().to_numpy(), dtype=np.int64)])
    return np.frombuffer(ended.str.join("").item().encode("utf-32-le"), np.uint32), begins


def _with_equal_bytes(codes: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """Return the texts with four aligned equal bytes, which includes all texts with a run of seven ASCII characters.

    A run of spaces counts too.
    """
    fours = codes[: len(codes) // 4 * 4].view(np.uint32)
    places = np.flatnonzero(fours == (fours & np.uint32(0xFF)) * np.uint32(0x01010101))
    return text_of(begins, 4 * places)


def _equal(codes: np.ndarray, left: np.ndarray, right: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return whether the words at *left* equal those at *right*, which come later in the text, for these lengths.

    Eight bytes are compared at a time.
    """
    eights: np.ndarray = np.ndarray((max(len(codes) - 7, 0),), "<u8", codes, strides=(1,))
    equal = np.ones(len(left), bool)
    near_end = right + lengths >= len(eights)
    rest, single = np.flatnonzero(~near_end), np.flatnonzero(near_end)
    for step in range(0, COMPARED, 8):
        more = lengths[rest] - step
        beyond = 8 * np.maximum(8 - more, 0)  # number of bits after the end of the word
        same = (eights[left[rest] + step] ^ eights[right[rest] + step]) << beyond.astype(np.uint64) == 0
        equal[rest[~same]] = False
        rest = rest[same & (more > 8)]
        if not len(rest):
            break
    for i in (*single, *rest):
        equal[i] = np.array_equal(codes[left[i] : left[i] + lengths[i]], codes[right[i] : right[i] + lengths[i]])
    return equal


def _runs(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which pairs begin a run, and its length; *pairs* are the positions where an element equals the next."""
    if not len(pairs):
        return pairs, pairs.astype(np.int32)
    begins = np.flatnonzero(np.append(True, np.diff(pairs) != 1))
    return begins, (np.diff(np.append(begins, len(pairs))) + 1).astype(np.int32)
