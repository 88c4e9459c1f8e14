"""Measure defects of texts: traces of a wrong encoding, and words or characters repeated many times in a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from models.compiled import kernel

MOJIBAKE = (
    "\u00C3[\u0080-\u00BF\u0192\u0152\u0153\u0160\u0161\u0178\u017D\u017E\u02C6\u02DC\u2013-\u203A\u20AC\u2122]"
    "|\u00C2[\u0080-\u00BF]"
    "|\u00E2[\u0080\u20AC][\u0080-\u00BF\u0152\u0153\u0161\u02DC\u201C\u201D\u2122]"
    "|\u00EF\u00BB\u00BF|\u00EF\u00BF\u00BD|\u00F0\u0178|\uFFFD"
)
"""Pattern of UTF-8 that was read as Latin-1 or Windows-1252, and of the replacement character U+FFFD.

The misread characters are an accented letter, a sign above U+007F, a curly quotation mark or dash, a byte order mark,
or an emoji."""
RUNS = ("word_run", "character_run")
TOGETHER = 10_000
"""Texts whose bytes are copied at a time."""
_SPACE, _BEYOND_ASCII = 32, 0x80


def runs_of(texts: pl.Series) -> pl.Series:
    """Return the longest run of one word and of one character in each text, as a struct with the fields `RUNS`.

    `word_run` is 3 for "no no no", 1 for a text without a repetition, 0 for an empty or missing text. Words are
    separated by single spaces or line breaks and compared as written; two separators in a row end a run.
    `character_run` is 9 for "sooooooooo"; spaces and line breaks do not count.
    """
    runs_NC = np.zeros((len(texts), 2), np.int32)
    for first in range(0, len(texts), TOGETHER):
        array = texts.slice(first, TOGETHER).fill_null("").to_arrow(compat_level=pl.CompatLevel.oldest())
        _, offsets, data = array.buffers()
        begins_N = np.frombuffer(offsets, np.int64, len(array) + 1, 8 * array.offset)
        data_B = np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)
        _longest_runs(data_B, begins_N, runs_NC[first : first + len(array)])
    return pl.DataFrame(runs_NC, schema=dict.fromkeys(RUNS, pl.Int32)).to_struct(texts.name)


@kernel
def _longest_runs(data_B: Any, begins_N: Any, runs_NC: Any) -> None:
    """Write both runs of each text.

    Args:
        data_B: UTF-8 bytes of all texts.
        begins_N: Where each text begins, with the end (N + 1).
        runs_NC: Result (N, 2).
    """
    for text in range(len(begins_N) - 1):
        begin, end = begins_N[text], begins_N[text + 1]
        words = characters = word_run = character_run = np.int64(begin < end)
        word, last_word, last_size = begin, begin, np.int64(0)  # begins of this word and of the one before, its size
        last, last_wide, at = begin, np.int64(0), begin  # the character before and its size; this one
        while at < end:
            byte, wide = data_B[at], np.int64(1)
            if byte >= _BEYOND_ASCII:
                while at + wide < end and data_B[at + wide] & 0xC0 == _BEYOND_ASCII:
                    wide += 1
            if wide == last_wide and byte == data_B[last] and byte > _SPACE and _equal(data_B, last, at, wide):
                character_run += 1
                characters = max(characters, character_run)
            else:
                character_run = np.int64(1)
            last, last_wide, at = at, wide, at + wide
            if byte <= _SPACE or at == end:
                size = last - word if byte <= _SPACE else at - word
                if 0 < size == last_size and _equal(data_B, last_word, word, size):
                    word_run += 1
                    words = max(words, word_run)
                else:
                    word_run = np.int64(1)
                last_word, last_size, word = word, size, at
        runs_NC[text, 0], runs_NC[text, 1] = words, characters


@kernel
def _equal(data_B: Any, left: Any, right: Any, size: Any) -> bool:
    for place in range(size):  # noqa: SIM110  # numba compiles no generator
        if data_B[left + place] != data_B[right + place]:
            return False
    return True
