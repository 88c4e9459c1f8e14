"""What is measured of texts: traces of a wrong encoding, and words or signs written many times in a row."""

from __future__ import annotations

import numpy as np
import polars as pl

from data_checks.metrics.encoded import pieces, text_of
from data_checks.metrics.tables import Measure

MOJIBAKE = (
    "\u00C3[\u0080-\u00BF\u0192\u0152\u0153\u0160\u0161\u0178\u017D\u017E\u02C6\u02DC\u2013-\u203A\u20AC\u2122]"
    "|\u00C2[\u0080-\u00BF]"
    "|\u00E2[\u0080\u20AC][\u0080-\u00BF\u0152\u0153\u0161\u02DC\u201C\u201D\u2122]"
    "|\u00EF\u00BB\u00BF|\u00EF\u00BF\u00BD|\u00F0\u0178|\uFFFD"
)
"""What UTF-8 looks like that was read as Latin-1 or Windows-1252 (an accented letter, a sign above U+007F, a curly
quotation mark or dash, a byte order mark, an emoji), and the mark of a sign that was lost."""
SHORTEST_RUN = 8
"""Shorter runs of a character are not told apart from none; aligned groups of four equal bytes show where to look."""
SPACE = 32
COMPARED = 64
TOGETHER = 5_000
"""Texts of which the characters are looked at in one go."""


def runs_of(texts: pl.Series) -> pl.DataFrame:
    """Return how often in a row the most repeated word and the most repeated character of each text stand.

    Returns:
        `word_run`: of "no no no" 3, of a text without a repetition 1, of none 0. Words are what stands between single
        spaces or line breaks, compared as written; two of those in a row end a run.
        `character_run`: of "sooooooooo" 9; 1 for less than 8, 0 where there is no text. Spaces and line breaks do not
        count.
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
    """Return the runs of two words or more: in which text, and how long."""
    # A line break stands behind every text, so every word ends with one of these.
    ends = np.flatnonzero(codes <= SPACE).astype(np.int32)
    lengths = np.empty_like(ends)
    lengths[0] = ends[0] + 1
    np.subtract(ends[1:], ends[:-1], out=lengths[1:])
    pairs = np.flatnonzero((lengths[1:] == lengths[:-1]) & (lengths[1:] > 1))
    # Nine in ten words of one length differ in their last byte.
    pairs = pairs[codes[ends[pairs] - 1] == codes[ends[pairs + 1] - 1]]
    starts = ends[pairs] - lengths[pairs] + 1
    equal = _equal(codes, starts, ends[pairs] + 1, lengths[pairs] - 1)
    pairs, starts = pairs[equal], starts[equal]
    inside = text_of(begins, starts) == text_of(begins, ends[pairs] + 1)
    pairs, starts = pairs[inside], starts[inside]
    which, runs = _runs(pairs)
    return text_of(begins, starts[which]), runs


def _character_runs(codes: np.ndarray, begins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the runs of `SHORTEST_RUN` characters or more: in which text, and how long."""
    pairs = np.flatnonzero((codes[1:] == codes[:-1]) & (codes[1:] > SPACE))
    which, runs = _runs(pairs)
    long = runs >= SHORTEST_RUN
    return text_of(begins, pairs[which][long]), runs[long]


MEASURES = {name: Measure("text", pl.Int32(), runs_of) for name in ("word_run", "character_run")}
"""Columns that the suites look at beside those of a table with texts."""


def _characters(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the same in characters (Unicode code points)."""
    ended = texts.fill_null("") + "\n"
    begins = np.concatenate([[0], np.cumsum(ended.str.len_chars().to_numpy(), dtype=np.int64)])
    return np.frombuffer(ended.str.join("").item().encode("utf-32-le"), np.uint32), begins


def _with_equal_bytes(codes: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """Return the texts in which four aligned bytes are equal: all with a run of seven ASCII characters are among them.

    A run of spaces counts too.
    """
    fours = codes[: len(codes) // 4 * 4].view(np.uint32)
    places = np.flatnonzero(fours == (fours & np.uint32(0xFF)) * np.uint32(0x01010101))
    return text_of(begins, 4 * places)


def _equal(codes: np.ndarray, left: np.ndarray, right: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return whether the words that begin at *left* and, behind those, at *right* and have these lengths are equal.

    Eight bytes are compared at a time.
    """
    eights: np.ndarray = np.ndarray((max(len(codes) - 7, 0),), "<u8", codes, strides=(1,))
    equal = np.ones(len(left), bool)
    near_end = right + lengths >= len(eights)
    rest, single = np.flatnonzero(~near_end), np.flatnonzero(near_end)
    for step in range(0, COMPARED, 8):
        more = lengths[rest] - step
        beyond = 8 * np.maximum(8 - more, 0)  # bits of what stands behind the words
        same = (eights[left[rest] + step] ^ eights[right[rest] + step]) << beyond.astype(np.uint64) == 0
        equal[rest[~same]] = False
        rest = rest[same & (more > 8)]
        if not len(rest):
            break
    for i in (*single, *rest):
        equal[i] = np.array_equal(codes[left[i] : left[i] + lengths[i]], codes[right[i] : right[i] + lengths[i]])
    return equal


def _runs(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which pairs begin a run, and how long it is, *pairs* being where an element equals the next one."""
    if not len(pairs):
        return pairs, pairs.astype(np.int32)
    begins = np.flatnonzero(np.append(True, np.diff(pairs) != 1))
    return begins, (np.diff(np.append(begins, len(pairs))) + 1).astype(np.int32)
