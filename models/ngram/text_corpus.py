"""Plain text as n-gram programs read it: one sentence a line, `<s> w1 … wn </s>`, words between blanks.

This is the unit of KenLM and of ARPA files. Reviews come as token streams instead (`models/streams.py`).

Blanks are space, tab, carriage return and NUL; an empty line is the sentence without words. A word that equals one of
the model's marks is not text: it is refused, as `lmplz` refuses it, or taken as it says on request.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from ..base import ModelError
from .text_source import opened

logger = logging.getLogger(__name__)

UNK, BEGIN, END = 0, 1, 2
MARKS = ("<unk>", "<s>", "</s>")
GIVEN_OF_LINES = (BEGIN,)
Marks = Literal["refuse", "skip", "unknown"]
"""What becomes of a mark in the text: an error; white space (`--skip_symbols` of `lmplz`); or, of `<unk>` only, an
unknown word (as `query` reads held-out text)."""

_BLOCK = 1 << 24
_BLANKS = bytes.maketrans(b"\t\r\x00", b"   ")
_LINE_END = "\x00"  # no word has it in it: it is a blank


@dataclass(frozen=True)
class LineCorpus:
    """Sentences as ids, laid end to end.

    Args:
        ids: `<s> w1 … wn </s> <s> …`, int32.
        offsets: Sentence i is ids[offsets[i] : offsets[i + 1]]; int64.
        words: Surface of every id: the three marks, then words in order of first appearance.
    """

    ids: np.ndarray
    offsets: np.ndarray
    words: tuple[str, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def read(cls, lines: Iterable[str], words: Iterable[str] | None = None, marks: Marks = "refuse") -> LineCorpus:
        """Read sentences, one string each.

        Args:
            words: The vocabulary to use; other words become `<unk>`. None makes one of the words that occur.
            marks: What becomes of a mark among the words.

        Raises:
            ModelError: A line holds `<s>`, `</s>` or `<unk>` as a word; the message has its number.
        """
        text = "".join(line.replace("\n", " ") + "\n" for line in lines)
        return _encoded([text.encode("utf-8", "replace")], words, marks, "line")

    @classmethod
    def read_file(cls, path: Path, words: Iterable[str] | None = None, marks: Marks = "refuse") -> LineCorpus:
        """Read a text file, plain, gzip or zstandard, in blocks: memory holds the ids and one block of text.

        Bytes that are not UTF-8 are replaced, with a warning.

        Raises:
            ModelError: The file cannot be read, or has a mark as a word (see `read`).
        """
        return _encoded(_blocks(Path(path)), words, marks, f"{path}, line")


def _blocks(path: Path) -> Iterator[bytes]:
    """Yield the text in blocks of whole lines; the last line ends even if the file forgot to say so."""
    rest = b""
    try:
        with opened(path) as stream:
            while more := stream.read(_BLOCK):
                end = more.rfind(b"\n") + 1
                if end:
                    yield rest + more[:end]
                    rest = more[end:]
                else:
                    rest += more
    except (OSError, EOFError, zlib.error) as error:
        raise ModelError(f"{path} cannot be read: {error}", kind="input") from error
    if rest:
        yield rest + b"\n"


def _encoded(blocks: Iterable[bytes], words: Iterable[str] | None, marks: Marks, place: str) -> LineCorpus:
    names = list(MARKS if words is None else words)
    table = {word: index for index, word in enumerate(names)}
    parts, line = [np.array([BEGIN], np.int32)], 1
    for block in blocks:
        local, codes_T = _tokens(block, place, line)
        ids_U = _ids(local, table, names if words is None else None)
        _settle_marks(local, ids_U, codes_T, marks, f"{place} {{}}", line)
        flat_T = ids_U[codes_T]
        flat_T = flat_T[flat_T != _SKIPPED]
        flat_T = np.repeat(flat_T, 1 + (flat_T == END))  # the second one becomes the next sentence's begin
        ends = np.flatnonzero(flat_T == END)[1::2]
        flat_T[ends] = BEGIN
        line += len(ends)
        parts.append(flat_T)
    ids = np.concatenate(parts)[:-1] if len(parts) > 1 else np.zeros(0, np.int32)
    offsets = np.append(np.flatnonzero(ids == BEGIN), len(ids))
    return LineCorpus(ids, offsets, tuple(names))


_SKIPPED = -1


def _tokens(block: bytes, place: str, line: int) -> tuple[pl.Series, np.ndarray]:
    """Return the different words of a block in order of appearance, and the number of each token's word in them.

    The end of a line is a token too. Every token is made a row of its own: no reader of text is faster.
    """
    try:
        block.decode("utf-8")
    except UnicodeDecodeError as error:
        number = line + block.count(b"\n", 0, error.start)
        logger.warning("%s %d: not UTF-8; such bytes are replaced from here on", place, number)
        block = block.decode("utf-8", "replace").encode()
    rows = b"\x00 " + block.translate(_BLANKS).replace(b"\n", b" \x00 ")
    table = pl.read_csv(
        rows, separator="\n", eol_char=" ", has_header=False, quote_char=None, schema={"word": pl.String}
    )
    tokens = table["word"].slice(1).drop_nulls()
    local = tokens.unique(maintain_order=True)
    return local, tokens.cast(pl.Enum(local)).to_physical().to_numpy()


def _ids(local: pl.Series, table: dict[str, int], growing: list[str] | None) -> np.ndarray:
    """Return the id of every word of a block; new words enter *growing* and *table* if there is one to grow."""
    ids_U = np.empty(len(local), np.int32)
    for place, word in enumerate(local):
        if growing is not None and word not in table and word != _LINE_END:
            table[word] = len(growing)
            growing.append(word)
        ids_U[place] = END if word == _LINE_END else table.get(word, UNK)
    return ids_U


def _settle_marks(
    local: pl.Series, ids_U: np.ndarray, codes_T: np.ndarray, marks: Marks, message: str, line: int
) -> None:
    found = np.flatnonzero(local.is_in(MARKS).to_numpy())
    if marks == "unknown":
        found = found[[local[int(place)] != MARKS[UNK] for place in found]] if len(found) else found
    if len(found) and marks != "skip":
        at = int(np.flatnonzero(np.isin(codes_T, found))[0])
        number = line + int((codes_T[:at] == local.index_of(_LINE_END)).sum())
        what = f"the word {local[int(codes_T[at])]!r} is a mark of the model, not text"
        raise ModelError(f"{message.format(number)}: {what}", kind="input")
    if marks == "skip":
        ids_U[found] = _SKIPPED
