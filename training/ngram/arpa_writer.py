"""Write ARPA text: the format in which n-gram programs exchange back-off models.

    \\data\\
    ngram 1=3 …
    \\1-grams:
    log10 p <tab> word <tab> log10 back-off weight        a missing weight means 0
    \\end\\

Begin tokens have log10 p = 0, as `<s>` in the files of `lmplz`, because they are given. Models of lines have only
`<s>`. Models of reviews begin with a star token, which is a symbol too, so that a line `<stars_5> w1 … wn` gets the
same score in any program as the review gets here. Such symbols are named in a comment before `\\data\\`
(`# given: …`), which other programs skip.

Numbers are float32 in the shortest form that gives the same float32 when read, so a second round trip changes nothing.
Log zero is written as −99, as in SRILM, and −99 is read as a normal number, as in KenLM.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, cast

import numpy as np
import polars as pl

from reviewlm.models.atomic_files import let_go, new_file
from reviewlm.models.base import ModelError
from reviewlm.models.ngram.tables import Tables

LN10 = float(np.log(10.0))
LOG_ZERO = -99.0
MARKS = ("<unk>", "<s>", "</s>")
GIVEN_NOTE = "# given:"
_ROWS = 1 << 16
_BLANKS = r"[ \t\r\n\x00]"


def write_arpa(
    path: Path,
    tables: Tables,
    words: Sequence[str],
) -> None:
    """Write a model as ARPA text, compressed if the name ends in `.gz`; the file appears when it is complete.

    A pipe or a device is written directly (see `atomic_files.new_file`).

    Args:
        words: Symbol of every id; `<unk>`, `<s>` and `</s>` must be among them.

    Raises:
        ModelError: The symbols do not fit the model, repeat, contain blanks, or lack a mark (kind "input"); the file
            cannot be written (kind "disk").
    """
    surfaces = _check_words(words, tables.vocabulary_size)
    with _create(path) as file:
        notes = [words[token] for token in tables.given if words[token] != "<s>"]
        if notes:
            file.write(f"{GIVEN_NOTE} {' '.join(notes)}\n".encode())
        file.write(b"\\data\\\n")
        for order, logp in enumerate(tables.logp, start=1):
            file.write(f"ngram {order}={len(logp)}\n".encode())
        for order in range(1, tables.order + 1):
            file.write(f"\n\\{order}-grams:\n".encode())
            for first in range(0, len(tables.logp[order - 1]), _ROWS):
                lines = _lines(
                    tables,
                    surfaces,
                    order,
                    first,
                    first + _ROWS,
                )
                # Write through a buffer: an error of polars on a full disk has no error number.
                text = BytesIO()
                lines.write_csv(
                    text,
                    include_header=False,
                    separator="\t",
                    quote_style="never",
                )
                file.write(text.getbuffer())
                # The tables may be mapped files: rows that are written need no memory any more.
                for array in tables.arrays().values():
                    let_go(array)

        file.write(b"\n\\end\\\n")


def _check_words(words: Sequence[str], vocabulary_size: int) -> pl.Series:
    surfaces = pl.Series("words", list(words), dtype=pl.String)
    if len(surfaces) != vocabulary_size:
        raise ModelError(
            f"{len(surfaces)} words for a model of {vocabulary_size} entries", kind="input"
        )
    if not set(MARKS) <= set(words):
        raise ModelError(f"an ARPA file needs the words {', '.join(MARKS)}", kind="input")

    wrong = surfaces.filter(
        surfaces.str.contains(_BLANKS) | (surfaces == "") | surfaces.is_duplicated()
    )
    if len(wrong):
        raise ModelError(
            f"the word {wrong[0]!r} is empty, contains a blank, or is listed twice", kind="input"
        )

    return surfaces


@contextmanager
def _create(path: Path) -> Iterator[IO[bytes]]:
    with new_file(path) as file:
        if path.suffix != ".gz":
            yield file
            return

        # Leave name and time out of the file, so that the same model gives the same bytes.
        with gzip.GzipFile(
            "",
            "wb",
            compresslevel=6,
            fileobj=file,
            mtime=0,
        ) as packed:
            yield cast("IO[bytes]", packed)


def _lines(
    tables: Tables,
    surfaces: pl.Series,
    order: int,
    first: int,
    last: int,
) -> pl.DataFrame:
    """Return rows *first* to *last* of an order as the columns p, n-gram and, below the highest order, back-off."""
    logp = tables.logp[order - 1][first:last]
    p_M = log10_float32(logp)
    if order == 1:
        given_M = np.isin(np.arange(first, first + len(logp)), tables.given)
        p_M[given_M] = 0.0

    words = []
    for place, ids_M in enumerate(_ids(tables, order, first, last)):
        words.append(pl.lit(surfaces.gather(ids_M).alias(str(place))))

    ngrams = pl.select(pl.concat_str(words, separator=" ").alias("ngram")).to_series()
    columns = [pl.Series("p", p_M), ngrams]
    if order < tables.order:
        columns.append(pl.Series("backoff", log10_float32(tables.backoff[order - 1][first:last])))

    return pl.DataFrame(columns)


def log10_float32(nats: np.ndarray) -> np.ndarray:
    """Return natural logs as log10 in float32; log zero becomes −99, and −0 becomes 0."""
    decades = (np.asarray(nats, np.float64) / LN10).astype(np.float32)
    return np.where(np.isneginf(decades), np.float32(LOG_ZERO), decades) + np.float32(0.0)


def _ids(
    tables: Tables,
    order: int,
    first: int,
    last: int,
) -> list[np.ndarray]:
    """Return the token ids of some rows of an order, one array per place."""
    if order == 1:
        return [np.arange(first, min(last, tables.vocabulary_size))]
    row_M = np.arange(first, min(last, len(tables.logp[order - 1])))
    places = []
    # From the last word back: the context of an n-gram is a row of the order below, and at order 1 a row is an id.
    for followers in reversed(tables.followers[: order - 1]):
        places.append(followers.word_M[row_M])
        row_M = followers.contexts(row_M)

    return [row_M, *reversed(places)]
