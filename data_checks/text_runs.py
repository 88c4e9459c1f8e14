"""Measure defects of texts: traces of a wrong encoding, and words or characters repeated many times in a row."""

from __future__ import annotations

import numpy as np
import polars as pl

MOJIBAKE = (
    "\u00c3[\u0080-\u00bf\u0192\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u02c6\u02dc\u2013-\u203a\u20ac\u2122]"
    "|\u00c2[\u0080-\u00bf]"
    "|\u00e2[\u0080\u20ac][\u0080-\u00bf\u0152\u0153\u0161\u02dc\u201c\u201d\u2122]"
    "|\u00ef\u00bb\u00bf|\u00ef\u00bf\u00bd|\u00f0\u0178|\ufffd"
)
"""Pattern of UTF-8 that was read as Latin-1 or Windows-1252, and of the replacement character U+FFFD.

The misread characters are an accented letter, a sign above U+007F, a curly quotation mark or dash, a byte order mark,
or an emoji."""
RUNS = ("word_run", "character_run")
TEXTS_AT_A_TIME = 10_000
"""Texts whose bytes are copied at a time."""


def runs_of(texts: pl.Series) -> pl.Series:
    """Return the longest run of one word and of one character in each text, as a struct with the fields `RUNS`.

    `word_run` is 3 for "no no no", 1 for a text without a repetition, 0 for an empty or missing text. Words are
    separated by single spaces or line breaks and compared as written; two separators in a row end a run.
    `character_run` is 9 for "sooooooooo"; spaces and line breaks do not count.
    """
    # Imported here because the import compiles: a stage whose result is in the store does not need it.
    from reviewlm.data_checks.run_kernels import longest_runs

    runs_NC = np.zeros((len(texts), 2), np.int32)
    for first in range(0, len(texts), TEXTS_AT_A_TIME):
        array = (
            texts.slice(first, TEXTS_AT_A_TIME)
            .fill_null("")
            .to_arrow(compat_level=pl.CompatLevel.oldest())
        )
        # 64-bit offsets of the texts in the bytes; a sliced array begins at an entry of its own.
        _, offsets, data = array.buffers()
        begins_N = np.frombuffer(offsets, np.int64, len(array) + 1, 8 * array.offset)
        if data:
            data_B = np.frombuffer(data, np.uint8)
        else:
            data_B = np.zeros(0, np.uint8)

        longest_runs(data_B, begins_N, runs_NC[first : first + len(array)])

    return pl.DataFrame(runs_NC, schema=dict.fromkeys(RUNS, pl.Int32)).to_struct(texts.name)
