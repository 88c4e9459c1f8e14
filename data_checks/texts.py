"""What is measured of texts: traces of a wrong encoding, and words or signs written many times in a row."""

from __future__ import annotations

from collections.abc import Iterator

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
SHORTEST_RUN = 8
"""Shorter runs of a character are not told apart from none; aligned groups of four equal bytes show where to look."""
SPACE = 32
COMPARED = 64
PIECE = 1 << 20


def longest_word_run(texts: pl.Series) -> pl.Series:
    """Return how often in a row the most repeated word of each text stands ("no no no": 3); 0 where there is no text.

    Words are what stands between single spaces or line breaks, compared as written; two in a row end a run.
    """
    codes, begins = _bytes(texts)
    longest = (np.diff(begins) > 1).astype(np.int32)
    for first, last in _pieces(begins):
        here, edges = codes[begins[first] : begins[last]], begins[first : last + 1] - begins[first]
        # A line break stands behind every text, so every word ends with one of these.
        ends = np.flatnonzero(here <= SPACE)
        lengths = np.diff(ends, prepend=-1)
        pairs = np.flatnonzero((lengths[1:] == lengths[:-1]) & (lengths[1:] > 1))
        starts = ends[pairs] - lengths[pairs] + 1
        equal = _equal(here, starts, ends[pairs] + 1, lengths[pairs] - 1)
        pairs, starts = pairs[equal], starts[equal]
        inside = _of_text(edges, starts) == _of_text(edges, ends[pairs] + 1)
        pairs, starts = pairs[inside], starts[inside]
        which, runs = _runs(pairs)
        np.maximum.at(longest, first + _of_text(edges, starts[which]), runs)
    return pl.Series(texts.name, longest, pl.Int32)


def longest_character_run(texts: pl.Series) -> pl.Series:
    """Return how often in a row the most repeated character stands ("sooooooooo": 9); 1 for less than 8, 0 for no text.

    Spaces and line breaks do not count.
    """
    codes, begins = _bytes(texts)
    longest = (np.diff(begins) > 1).astype(np.int32)
    plain = (texts.str.len_bytes() == texts.str.len_chars()).fill_null(True).to_numpy()
    all_suspects = np.union1d(np.flatnonzero(~plain), _with_equal_bytes(codes, begins))
    size = int((begins[all_suspects + 1] - begins[all_suspects]).sum())
    for suspects in np.array_split(all_suspects, size // PIECE + 1) if len(all_suspects) else ():
        characters, edges = _characters(texts.gather(suspects))
        pairs = np.flatnonzero((characters[1:] == characters[:-1]) & (characters[1:] > SPACE))
        which, runs = _runs(pairs)
        first, runs = pairs[which][runs >= SHORTEST_RUN], runs[runs >= SHORTEST_RUN]
        np.maximum.at(longest, suspects[_of_text(edges, first)], runs)
    return pl.Series(texts.name, longest, pl.Int32)


MEASURES = {
    "word_run": Measure("text", pl.Int32(), longest_word_run),
    "character_run": Measure("text", pl.Int32(), longest_character_run),
}
"""Columns that the suites look at beside those of a table with texts."""


def _bytes(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the UTF-8 bytes of all texts, a line break behind each, and where each begins, with the end (N+1)."""
    ended = (texts.fill_null("") + "\n").to_arrow(compat_level=pl.CompatLevel.oldest())
    if not len(ended):
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    _, offsets, codes = ended.buffers()
    begins = np.frombuffer(offsets, np.int64, len(ended) + 1)
    return np.frombuffer(codes, np.uint8, int(begins[-1])), begins


def _characters(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the same in characters (Unicode code points)."""
    ended = texts.fill_null("") + "\n"
    begins = np.concatenate([[0], np.cumsum(ended.str.len_chars().to_numpy(), dtype=np.int64)])
    return np.frombuffer(ended.str.join("").item().encode("utf-32-le"), np.uint32), begins


def _pieces(begins: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield ranges of texts of about a megabyte: what is worked out from them stays small, and in the cache."""
    if len(begins) < 2:
        return
    cuts = np.flatnonzero(np.diff(begins[:-1] // PIECE, prepend=-1))
    yield from zip(cuts.tolist(), [*cuts[1:].tolist(), len(begins) - 1], strict=True)


def _with_equal_bytes(codes: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """Return the texts in which four aligned bytes are equal: all with a run of seven ASCII characters are among them.

    A run of spaces counts too.
    """
    fours = codes[: len(codes) // 4 * 4].view(np.uint32)
    places = [
        start + np.flatnonzero(part == (part & np.uint32(0xFF)) * np.uint32(0x01010101))
        for start in range(0, len(fours), PIECE) for part in [fours[start : start + PIECE]]
    ]
    return np.unique(_of_text(begins, 4 * np.concatenate(places))) if places else np.zeros(0, np.int64)


def _of_text(begins: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return in which text each place is."""
    return np.searchsorted(begins, places, side="right") - 1


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
