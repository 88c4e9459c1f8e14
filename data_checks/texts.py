"""What is measured of texts: traces of a wrong encoding, and words or signs written many times in a row."""

from __future__ import annotations

import numpy as np
import polars as pl

from data_checks.tables import Measure

MOJIBAKE = (
    "\u00C3[\u0080-\u00BF\u0192\u0152\u0153\u0160\u0161\u0178\u017D\u017E\u02C6\u02DC\u2013-\u203A\u20AC\u2122]"
    "|\u00C2[\u0080-\u00BF]"
    "|\u00E2[\u0080\u20AC][\u0080-\u00BF\u0152\u0153\u0161\u02DC\u201C\u201D\u2122]"
    "|\u00EF\u00BB\u00BF|\u00EF\u00BF\u00BD|\u00F0\u0178|\uFFFD"
)
"""What UTF-8 looks like that was read as Latin-1 or Windows-1252 (an accented letter, a sign above U+007F, a curly
quotation mark or dash, a byte order mark, an emoji), and the mark of a sign that was lost."""
SHORTEST_RUN = 4
"""Runs of fewer equal characters are not told apart from none: words such as "keeper" have them."""
SPACE = 32
COMPARED = 64


def longest_word_run(texts: pl.Series) -> pl.Series:
    """Return how often in a row the most repeated word of each text stands ("no no no": 3); 0 without a word.

    Words are what stands between spaces and line breaks, compared as written.
    """
    codes, begins = _bytes(texts)
    # Every text begins and ends with a line break, so words and spaces take turns.
    turns = np.flatnonzero(np.diff(codes <= SPACE)) + 1
    starts, lengths = turns[::2], turns[1::2] - turns[::2]
    longest = (np.diff(np.searchsorted(starts, begins)) > 0).astype(np.int32)
    pairs = np.flatnonzero(lengths[1:] == lengths[:-1])
    pairs = pairs[codes[starts[pairs]] == codes[starts[pairs + 1]]]
    equal = _equal(codes, starts[pairs], starts[pairs + 1], lengths[pairs])
    pairs = pairs[equal]
    text = _of_text(begins, starts[pairs])
    inside = text == _of_text(begins, starts[pairs + 1])
    _keep_longest(longest, text[inside], pairs[inside])
    return pl.Series(texts.name, longest, pl.Int32)


def longest_character_run(texts: pl.Series) -> pl.Series:
    """Return how often in a row the most repeated character stands ("soooo": 4); 1 for less than 4, 0 for no text.

    Spaces and line breaks do not count.
    """
    longest = np.minimum(texts.str.len_bytes().fill_null(0).to_numpy(), 1).astype(np.int32)
    plain = (texts.str.len_bytes() == texts.str.len_chars()).fill_null(True)
    for rows, encoded in ((plain, _bytes), (~plain, _code_points)):
        places = np.flatnonzero(rows.to_numpy())
        codes, begins = encoded(texts.filter(rows))
        pairs = np.flatnonzero((codes[1:] == codes[:-1]) & (codes[1:] > SPACE))
        found = longest[places]
        _keep_longest(found, _of_text(begins, pairs), pairs, SHORTEST_RUN)
        longest[places] = found
    return pl.Series(texts.name, longest, pl.Int32)


MEASURES = {
    "word_run": Measure("text", pl.Int32(), longest_word_run),
    "character_run": Measure("text", pl.Int32(), longest_character_run),
}
"""Columns that the suites look at beside those of a table with texts."""


def _bytes(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the UTF-8 bytes of all texts, and where each begins, with the end (N+1); a missing text is empty.

    A line break stands before, between and behind them.
    """
    joined = _joined(texts).cast(pl.Binary).item()
    lengths = texts.str.len_bytes().fill_null(0).to_numpy().astype(np.int64)
    return np.frombuffer(joined, np.uint8), np.concatenate([[1], 1 + np.cumsum(lengths + 1)])


def _code_points(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the same in characters (Unicode code points)."""
    joined = _joined(texts).item().encode("utf-32-le")
    lengths = texts.str.len_chars().fill_null(0).to_numpy().astype(np.int64)
    return np.frombuffer(joined, np.uint32), np.concatenate([[1], 1 + np.cumsum(lengths + 1)])


def _joined(texts: pl.Series) -> pl.Series:
    between = texts.fill_null("").str.join("\n")
    return pl.select(pl.concat_str(pl.lit("\n"), between, pl.lit("\n" if len(texts) else ""))).to_series()


def _of_text(offsets: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return in which text each place is."""
    return np.searchsorted(offsets, places, side="right") - 1


def _equal(codes: np.ndarray, left: np.ndarray, right: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return whether the words that begin at *left* and *right* and have these lengths are equal."""
    equal = np.ones(len(left), bool)
    for step in range(1, min(int(lengths.max(initial=0)), COMPARED)):
        rest = np.flatnonzero(equal & (lengths > step))
        if not len(rest):
            break
        equal[rest] = codes[left[rest] + step] == codes[right[rest] + step]
    for i in np.flatnonzero(equal & (lengths > COMPARED)):
        end = lengths[i]
        equal[i] = np.array_equal(codes[left[i] : left[i] + end], codes[right[i] : right[i] + end])
    return equal


def _keep_longest(longest: np.ndarray, text: np.ndarray, pairs: np.ndarray, shortest: int = 2) -> None:
    """Raise *longest* of each text to its longest run, *pairs* being where an element equals the next one."""
    if not len(pairs):
        return
    begins = np.flatnonzero(np.append(True, (np.diff(pairs) != 1) | (np.diff(text) != 0)))
    lengths = np.diff(np.append(begins, len(pairs))) + 1
    long = lengths >= shortest
    np.maximum.at(longest, text[begins[long]], lengths[long].astype(np.int32))
