"""Read n-gram models from ARPA files, the text format of KenLM, SRILM, IRSTLM and CMU, into tables of n-grams.

Differences between toolkits: a byte-order mark or text before `\\data\\`; spaces for tabs, several of them, carriage
returns; missing back-off weights; `<UNK>` for `<unk>` (if a file has both, the later one counts, as in KenLM); neither
of them (then `<unk>` gets log10 p = −100, as in KenLM); IRSTLM's slightly positive log p (read as 0).
SRILM drops n-grams even if longer n-grams that begin or end with them stay. Such n-grams are added as virtual entries
(`listed_ngrams.py`): the probability is that of backing off, the weight is 1, so that no score changes. KenLM does the
same for missing endings.

Sections are read in blocks by polars: after every blank becomes a single space, a row has the columns p, w1 … wk and
back-off.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np
import polars as pl

from reviewlm.models.base import ModelError, translate_read_errors
from reviewlm.models.ngram.tables import Tables
from reviewlm.training.ngram.arpa_writer import GIVEN_NOTE, LN10, MARKS
from reviewlm.training.ngram.lines.text_corpus import CAPITAL_UNKNOWN
from reviewlm.training.ngram.listed_ngrams import Entries, tables_of
from reviewlm.training.text_source import UNPACKING_ERRORS, open_text

_UNKNOWN_MISSING = -100.0
_BLANKS = bytes.maketrans(b"\t\r", b"  ")
_COUNT = re.compile(rb"ngram\s+(\d+)\s*=\s*(\d+)")
_FOREIGN = {
    b"mmap lm http://kheafield.com/code": "a binary file of KenLM",
    b"blmt": "a binary file of IRSTLM",
    b"iARPA": "an intermediate (iARPA) file of IRSTLM",
}
MOST_LOG = 0.01
"""Largest log10 p that is taken for 0: IRSTLM writes slightly positive ones. Above it, the file has other numbers there, such
as probabilities."""
BLOCK_BYTES = 1 << 25
"""Bytes of entries that are parsed at a time."""
logger = logging.getLogger(__name__)


@dataclass
class _ArpaText:
    """The text of a file; *at* is the place of the next line."""

    path: Path
    text: bytes
    at: int = 0

    def fail(
        self,
        expected: str,
        actual: object = None,
        at: int | None = None,
    ) -> NoReturn:
        """Raise the error of a damaged file, with the number of the line at a place (None: the next line)."""
        line = self.text.count(b"\n", 0, self.at if at is None else at) + 1
        shown = "" if actual is None else f", found {actual!r}"
        raise ModelError(f"{self.path}, line {line}: expected {expected}{shown}", kind="input")

    def next_line(self, expected: str) -> tuple[int, bytes]:
        """Return the place of the next line that is not blank, and the line without blanks around it."""
        while self.at < len(self.text):
            begin = self.at
            end = self.text.find(b"\n", self.at)
            if end < 0:
                self.at = len(self.text)
            else:
                self.at = end + 1

            if line := self.text[begin : self.at].strip(b" \t\r\n"):
                return begin, line
        self.fail(f"{expected}, found the end of the file")

    def entries(self) -> Iterator[tuple[int, bytes]]:
        """Yield blocks (place, whole lines) up to the next line that begins with a backslash."""
        end = len(self.text)
        if self.text.startswith(b"\\", self.at):
            end = self.at
        elif (title := self.text.find(b"\n\\", self.at)) >= 0:
            end = title + 1

        while self.at < end:
            begin = self.at
            cut = self.text.rfind(b"\n", begin, begin + BLOCK_BYTES) + 1
            if begin + BLOCK_BYTES < end and cut:
                self.at = cut
            else:
                self.at = end

            yield begin, self.text[begin : self.at]


def read_arpa(path: Path) -> tuple[Tables, tuple[str, ...]]:
    """Read an ARPA file or pipe, plain or packed, into tables and words: `<unk>`, `<s>`, `</s>`, then the others by id.

    Values are rounded to float32, as in KenLM.

    Raises:
        ModelError: The file is missing, or is not a complete ARPA file; the message has the line and the expected text.
    """
    path = Path(path)
    with translate_read_errors(str(path), kind="input"), open_text(path) as stream:
        try:
            text = stream.read()
        except UNPACKING_ERRORS as error:
            raise ModelError(
                f"{path}, line 1: expected more of the file ({error})", kind="input"
            ) from error
    return _read(_ArpaText(path, text))


def _read(source: _ArpaText) -> tuple[Tables, tuple[str, ...]]:
    given_names, sizes = _header(source)
    words, unigrams = _unigrams(source, sizes)
    symbols = pl.Enum(words)
    orders = [unigrams]
    for order in range(2, len(sizes) + 1):
        orders.append(_section(source, order, sizes, symbols))

    _title(source, "\\end\\")
    for name in given_names - set(words):
        source.fail(f"the word {name!r} among the 1-grams, as it is named in a comment")

    if sum(entries.positive for entries in orders):
        logger.warning(
            "%s: log p above 0 in %d entries; set to 0",
            source.path,
            sum(e.positive for e in orders),
        )

    given = [index for index, word in enumerate(words) if word in given_names]
    tables = tables_of(orders, len(words), given, partial(_refuse_twice, source))
    return tables, tuple(words)


def _header(source: _ArpaText) -> tuple[set[str], list[int]]:
    """Read up to the first section; return the words that are marked as given, and the number of n-grams per order."""
    given = {"<s>"}
    while True:
        at, line = source.next_line("\\data\\")
        if line == b"\\data\\":
            break
        for magic, name in _FOREIGN.items():
            if line.startswith(magic):
                source.fail(f"ARPA text, found {name}", at=at)
        if line.startswith(GIVEN_NOTE.encode()):
            given |= set(line.decode("utf-8", "replace").removeprefix(GIVEN_NOTE).split())

    sizes: list[int] = []
    while True:
        at, line = source.next_line("\\1-grams:" if sizes else "ngram 1=…")
        if line.startswith(b"\\"):
            break

        match = _COUNT.fullmatch(line)
        if not match or int(match[1]) != len(sizes) + 1:
            source.fail(f"ngram {len(sizes) + 1}=…", _excerpt(line), at)
        sizes.append(int(match[2]))

    source.at = at
    if not sizes:
        source.fail("ngram 1=…", _excerpt(line))

    return given, sizes


def _title(source: _ArpaText, title: str) -> None:
    at, line = source.next_line(title)
    if line != title.encode():
        source.fail(title, _excerpt(line), at)


def _unigrams(source: _ArpaText, sizes: list[int]) -> tuple[list[str], Entries]:
    """Return the words, marks first, and their entries in the same order."""
    parts = list(_rows(source, 1, sizes, None))
    if parts:
        rows = pl.concat(parts)
    else:
        rows = _columns(b"", ["w1"])

    rows = _one_unknown(source, rows)
    if rows["w1"].is_duplicated().any():
        _refuse_twice(source, 1, int(np.flatnonzero(~rows["w1"].is_first_distinct().to_numpy())[0]))

    if "<unk>" not in rows["w1"]:
        logger.warning("%s has no <unk>; it gets log10 p = %g", source.path, _UNKNOWN_MISSING)
        unknown = pl.DataFrame(
            {
                "p": [_UNKNOWN_MISSING],
                "w1": ["<unk>"],
                "backoff": [0.0],
            },
            schema=rows.schema,
        )
        rows = pl.concat([unknown, rows])

    for mark in MARKS:
        if mark not in rows["w1"]:
            source.fail(f"the word {mark} among the 1-grams")

    rank = pl.col("w1").replace_strict(
        {mark: place for place, mark in enumerate(MARKS)}, default=len(MARKS)
    )
    rows = rows.sort(rank, maintain_order=True)
    return rows["w1"].to_list(), _entries(rows, np.arange(len(rows))[:, None])


def _one_unknown(source: _ArpaText, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the unigrams with `<UNK>` as `<unk>`; if a file has both, the later one counts, as in KenLM."""
    unknown = rows["w1"].is_in(["<unk>", CAPITAL_UNKNOWN])
    if rows["w1"].filter(unknown).n_unique() > 1:
        logger.warning(
            "%s has both <unk> and %s; both are the unknown word, with the numbers of the later one",
            source.path,
            CAPITAL_UNKNOWN,
        )
        last = int(np.flatnonzero(unknown.to_numpy())[-1])
        rows = rows.filter(~unknown | (pl.int_range(pl.len()) == last))

    return rows.with_columns(pl.col("w1").replace({CAPITAL_UNKNOWN: "<unk>"}))


def _section(
    source: _ArpaText,
    order: int,
    sizes: list[int],
    symbols: pl.Enum,
) -> Entries:
    names = [f"w{place}" for place in range(1, order + 1)]
    parts = []
    for rows in _rows(source, order, sizes, symbols):
        ids = [rows[name].to_physical().to_numpy() for name in names]
        parts.append(_entries(rows, np.stack(ids, axis=1).astype(np.int32)))
    return Entries.join(parts, order)


def _rows(
    source: _ArpaText,
    order: int,
    sizes: list[int],
    symbols: pl.Enum | None,
) -> Iterator[pl.DataFrame]:
    """Yield the rows of one section block by block; check them and compare their number with the header."""
    _title(source, f"\\{order}-grams:")
    total = 0
    for first, lines in source.entries():
        rows = _parse_rows(lines, order, symbols, highest=order == len(sizes))
        if rows is None:
            _find_fault(
                source,
                first,
                lines,
                order,
                symbols,
                highest=order == len(sizes),
            )
        total += len(rows)
        yield rows

    if total != sizes[order - 1]:
        source.fail(f"{sizes[order - 1]} {order}-grams above, as \\data\\ says", total)


def _parse_rows(
    lines: bytes,
    order: int,
    symbols: pl.Enum | None,
    highest: bool,
) -> pl.DataFrame | None:
    """Return the rows of some lines; None if a line is not an entry."""
    plain = lines.translate(_BLANKS)
    rows = _check_rows(plain, order, symbols, highest)
    if rows is not None:
        return rows
    tidy = _tidy(plain)
    if symbols is not None:
        tidy = re.sub(rb"(?<= )<UNK>(?=[ \n])", b"<unk>", tidy)
    return _check_rows(tidy, order, symbols, highest)


def _tidy(lines: bytes) -> bytes:
    """Return the lines with single spaces between words, without spaces around them and without empty lines."""
    return re.sub(rb" *\n[ \n]*", b"\n", re.sub(rb"  +", b" ", lines)).lstrip(b" \n")


def _check_rows(
    lines: bytes,
    order: int,
    symbols: pl.Enum | None,
    highest: bool,
) -> pl.DataFrame | None:
    names = [f"w{place}" for place in range(1, order + 1)]
    try:
        rows = _columns(lines, names)
    except pl.exceptions.PolarsError:
        return None

    if symbols is not None:
        rows = rows.with_columns(pl.col(names).cast(symbols, strict=False))

    good = pl.all_horizontal(
        pl.col("p") <= MOST_LOG, pl.col("backoff") < np.inf, pl.col(names).is_not_null()
    )
    if highest:
        good &= pl.col("backoff") == 0

    if rows.select(good.fill_null(False).all()).item():
        return rows
    return None


def _columns(lines: bytes, names: list[str]) -> pl.DataFrame:
    """Split lines at single spaces into the columns p, words and backoff (0 if missing)."""
    schema = pl.Schema(
        {
            "p": pl.Float64(),
            **dict.fromkeys(names, pl.String()),
            "backoff": pl.Float64(),
        }
    )
    # Put a complete row first: polars takes the number of columns from it, and later rows may have no weight.
    full = b"0" + b" w" * len(names) + b" 0\n"
    rows = pl.read_csv(
        full + lines.rstrip(b"\n"),
        separator=" ",
        has_header=False,
        quote_char=None,
        schema=schema,
    ).slice(1)
    return rows.with_columns(pl.col("backoff").fill_null(0.0))


def _entries(rows: pl.DataFrame, ids_MK: np.ndarray) -> Entries:
    p_M = rows["p"].to_numpy().astype(np.float32).astype(np.float64)
    backoff_M = rows["backoff"].to_numpy().astype(np.float32).astype(np.float64)
    return Entries(ids_MK, np.minimum(p_M, 0.0) * LN10, backoff_M * LN10, int((p_M > 0).sum()))


def _cut_near(lines: bytes, place: int) -> int:
    """Return where the line after a place begins, or else the line that holds it; 0 if there is one line only."""
    after = lines.find(b"\n", place, -1) + 1
    return after or lines.rfind(b"\n", 0, place) + 1


def _find_fault(
    source: _ArpaText,
    first: int,
    lines: bytes,
    order: int,
    symbols: pl.Enum | None,
    highest: bool,
) -> NoReturn:
    """Raise the error of the first line that is not an entry, found by halving the lines."""
    half = len(lines) // 2
    while cut := _cut_near(lines, half):
        if _parse_rows(lines[:cut], order, symbols, highest) is None:
            lines = lines[:cut]
        else:
            first += cut
            lines = lines[cut:]
        half = len(lines) // 2

    words = f"{order} word{'s' * (order > 1)}{'' if symbols is None else ' of the 1-grams'}"
    weight = "no back-off weight" if highest else "back-off weight or none"
    source.fail(
        f"log10 p, {words}, {weight}, log10 p at most 0, all in UTF-8",
        _excerpt(lines.rstrip(b"\n")),
        first,
    )


def _refuse_twice(
    source: _ArpaText,
    order: int,
    row: int,
) -> NoReturn:
    """Raise the error of an n-gram that is listed twice, the second time in row *row* of its section."""
    source.at = source.text.index(f"\\{order}-grams:".encode())
    for _ in range(row + 2):  # the title is a line, too
        at, line = source.next_line("an entry")
    source.fail("each n-gram once", _excerpt(line), at)


def _excerpt(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace")[:120]
