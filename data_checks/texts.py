"""What is measured of texts: traces of a wrong encoding, and words or signs written many times in a row."""

from __future__ import annotations

import numpy as np
import polars as pl

from data_checks.encoded import pieces, text_of
from data_checks.tables import Measure

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


def longest_word_run(texts: pl.Series) -> pl.Series:
    """Return how often in a row the most repeated word of each text stands ("no no no": 3); 0 where there is no text.

    Words are what stands between single spaces or line breaks, compared as written; two in a row end a run.
    """
    longest = _known(texts)
    for first, codes, begins in pieces(texts):
        # A line break stands behind every text, so every word ends with one of these.
        ends = np.flatnonzero(codes <= SPACE).astype(np.int32)
        lengths = np.empty_like(ends)
        lengths[0] = ends[0] + 1
        np.subtract(ends[1:], ends[:-1], out=lengths[1:])
        pairs = np.flatnonzero((lengths[1:] == lengths[:-1]) & (lengths[1:] > 1))
        starts = ends[pairs] - lengths[pairs] + 1
        equal = _equal(codes, starts, ends[pairs] + 1, lengths[pairs] - 1)
        pairs, starts = pairs[equal], starts[equal]
        inside = text_of(begins, starts) == text_of(begins, ends[pairs] + 1)
        pairs, starts = pairs[inside], starts[inside]
        which, runs = _runs(pairs)
        np.maximum.at(longest, first + text_of(begins, starts[which]), runs)
    return pl.Series(texts.name, longest, pl.Int32)


def longest_character_run(texts: pl.Series) -> pl.Series:
    """Return how often in a row the most repeated character stands ("sooooooooo": 9); 1 for less than 8, 0 for no text.

    Spaces and line breaks do not count.
    """
    longest = _known(texts)
    plain: np.ndarray = (texts.str.len_bytes() == texts.str.len_chars()).fill_null(True).to_numpy()
    for first, codes, begins in pieces(texts):
        others = np.flatnonzero(~plain[first : first + len(begins) - 1])
        suspects = first + np.union1d(others, _with_equal_bytes(codes, begins))
        if not len(suspects):
            continue
        characters, edges = _characters(texts.gather(suspects))
        pairs = np.flatnonzero((characters[1:] == characters[:-1]) & (characters[1:] > SPACE))
        which, runs = _runs(pairs)
        places, runs = pairs[which][runs >= SHORTEST_RUN], runs[runs >= SHORTEST_RUN]
        np.maximum.at(longest, suspects[text_of(edges, places)], runs)
    return pl.Series(texts.name, longest, pl.Int32)


def _known(texts: pl.Series) -> np.ndarray:
    """Return 1 for each text, 0 for those that are empty or missing."""
    return (texts.str.len_bytes().fill_null(0) > 0).to_numpy().astype(np.int32)


MEASURES = {
    "word_run": Measure("text", pl.Int32(), longest_word_run),
    "character_run": Measure("text", pl.Int32(), longest_character_run),
}
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
    return np.unique(text_of(begins, 4 * places))


def _equal(codes: np.ndarray, left: np.ndarray, right: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return whether the words that begin at *left* and *right* and have these lengths are equal."""
    rest, equal = np.arange(len(left)), np.zeros(len(left), bool)
    for step in range(int(lengths.max(initial=0)) + 1):
        ended = lengths[rest] == step
        equal[rest[ended]] = True
        rest = rest[~ended]
        rest = rest[codes[left[rest] + step] == codes[right[rest] + step]]
        if not len(rest) or step == COMPARED:
            break
    for i in rest:
        equal[i] = np.array_equal(codes[left[i] : left[i] + lengths[i]], codes[right[i] : right[i] + lengths[i]])
    return equal


def _runs(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which pairs begin a run, and how long it is, *pairs* being where an element equals the next one."""
    if not len(pairs):
        return pairs, pairs.astype(np.int32)
    begins = np.flatnonzero(np.append(True, np.diff(pairs) != 1))
    return begins, (np.diff(np.append(begins, len(pairs))) + 1).astype(np.int32)
