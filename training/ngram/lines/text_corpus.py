"""Read plain text as n-gram programs do: one sentence per line, `<s> w1 … wn </s>`, words between blanks.

KenLM and ARPA files use this form. Reviews are token streams instead (`models/streams.py`).

Blanks are space, tab, carriage return and NUL; an empty line is a sentence without words. A word that equals one of the
model's marks is not text: it is an error, as in `lmplz`, unless the option `Marks` says otherwise.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from reviewlm.models.base import ModelError
from reviewlm.models.text.normal_form import require_unicode
from reviewlm.models.threads import map_in_order
from reviewlm.training.ngram.counting.memory import IN_MEMORY, ArrayAllocator
from reviewlm.training.text_source import UNPACKING_ERRORS, open_text

logger = logging.getLogger(__name__)

UNK = 0
BEGIN = 1
END = 2
MARKS = ("<unk>", "<s>", "</s>")  # not that of `arpa_writer`, which imports polars
CAPITAL_UNKNOWN = "<UNK>"
"""Form of `<unk>` in some toolkits: in a text a normal word, in an ARPA file the unknown word."""
GIVEN_OF_LINES = (BEGIN,)
Marks = Literal["refuse", "skip", "unknown"]
"""Handling of a mark in the text: "refuse": an error; "skip": read as white space (`--skip_symbols` of `lmplz`);
"unknown": `<unk>` is an unknown word, which a fit counts, and the other marks are errors (as `query` reads held-out
text)."""

_BLOCK = 1 << 20
BLANKS = "\t\r\x00\n"
"""What is read as a space in a single line; in a text, a line feed ends the line."""
_BLANKS = bytes.maketrans(b"\t\r\x00", b"   ")
_WORD_ENDS = tuple(blank.encode() for blank in f" {BLANKS}")
_BEGIN = "\n\n"
"""Token for the begin of a line; no word contains it."""
_END = "\n"
"""Token for the end of a line; no word contains it."""


@dataclass(frozen=True)
class LineCorpus:
    """Sentences as ids, one after another.

    Args:
        ids: `<s> w1 … wn </s> <s> …`, int32.
        offsets: Sentence i is ids[offsets[i] : offsets[i + 1]]; int64.
        words: The word of every id: the three marks, then words in order of first appearance.
    """

    ids: np.ndarray
    offsets: np.ndarray
    words: tuple[str, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def read(
        cls,
        lines: Iterable[str],
        words: Iterable[str] | None = None,
        marks: Marks = "refuse",
    ) -> LineCorpus:
        """Read sentences, one string each.

        Args:
            lines: The sentences.
            words: The vocabulary to use; other words become `<unk>`. None builds one from the words that occur.
            marks: Handling of a mark among the words, see `Marks`.

        Raises:
            ModelError: A line has a mark as a word that is not allowed; the message has the line number; or it is not
                Unicode (`require_unicode`); kind "input".
        """
        text = "".join(line.replace("\n", " ") + "\n" for line in lines)
        require_unicode(text)
        return _encode(list(_blocks(BytesIO(text.encode()))), words, marks, "line")

    @classmethod
    def read_file(
        cls,
        path: Path,
        words: Iterable[str] | None = None,
        marks: Marks = "refuse",
        allocator: ArrayAllocator = IN_MEMORY,
    ) -> LineCorpus:
        """Read a text file, plain, gzip or zstandard, in blocks: memory only holds words, ids and a few blocks of text.

        Bytes that are not UTF-8 are replaced, with a warning. With an allocator of files, the ids are in a file.

        Raises:
            ModelError: The file cannot be read, or has a mark as a word (see `read`).
        """
        path = Path(path)
        try:
            with open_text(path) as stream:
                return _encode(
                    _blocks(stream),
                    words,
                    marks,
                    f"{path}, line",
                    allocator=allocator,
                )
        except (OSError, *UNPACKING_ERRORS) as error:
            raise ModelError(f"{path} cannot be read: {error}", kind="input") from error


def read_words(path: Path) -> frozenset[str]:
    """Return the words of a list file, separated by line ends or blanks; plain, gzip or zstandard.

    Raises:
        ModelError: The file cannot be read, is not UTF-8, or has no word (kind "input").
    """
    try:
        with open_text(path) as stream:
            text = stream.read().translate(_BLANKS).decode("utf-8")
    except (OSError, *UNPACKING_ERRORS) as error:
        raise ModelError(f"{path} cannot be read: {error}", kind="input") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path} is not UTF-8: {error}", kind="input") from error

    # Same blanks as in texts: no other white space.
    words = frozenset(text.replace("\n", " ").split(" ")) - {""}
    if not words:
        raise ModelError(f"{path} has no words, so no n-gram would be kept", kind="input")

    return words


class _Block(NamedTuple):
    """Lines, or a part of one, as codes: token t is words_U[codes_T[t]]; `line` is the number of the first line."""

    line: int
    words_U: list[str]
    codes_T: np.ndarray
    damaged: int | None
    """Number of the first line that is not UTF-8, or None."""


def _blocks(stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield blocks (number of the first line, lines); a missing line end of the last line is added.

    A block ends after a line, or after a word where no line ends in it: memory never holds a long line.
    """
    line = 1
    rest = b""
    ended = True
    while more := stream.read(_BLOCK):
        end = more.rfind(b"\n") + 1 or max(more.rfind(blank) for blank in _WORD_ENDS) + 1
        if end:
            block = rest + more[:end]
            rest = more[end:]
            yield line, block
            line += block.count(b"\n")
            ended = block.endswith(b"\n")
        else:
            rest += more

    if rest or not ended:
        yield line, rest + b"\n"


def _encode(
    blocks: Iterable[tuple[int, bytes]],
    words: Iterable[str] | None,
    marks: Marks,
    place: str,
    allocator: ArrayAllocator = IN_MEMORY,
) -> LineCorpus:
    fixed = None
    if words is not None:
        fixed = tuple(words)

    names = list(MARKS)
    table = {word: index for index, word in enumerate(names if fixed is None else fixed)}
    # A mark in the text is not the model's own mark: it has -1, -2 or -3 until `_settle_marks` handles it.
    table |= {mark: -1 - index for index, mark in enumerate(MARKS)} | {
        _BEGIN: BEGIN,
        _END: END,
        "": UNK,
    }
    ids = allocator.growing(np.int32)
    begins = allocator.growing(np.int64)
    warned = False
    ids.append(np.array([BEGIN]))
    begins.append(np.array([0]))
    for block in map_in_order(_tokens, blocks):
        if block.damaged and not warned:
            logger.warning(
                "%s %d: not UTF-8; such bytes are replaced from here on. Convert the file to UTF-8",
                place,
                block.damaged,
            )
            warned = True
        if fixed is None:
            for word in block.words_U:
                if word not in table:
                    table[word] = len(names)
                    names.append(word)
        ids_U = np.array([table.get(word, UNK) for word in block.words_U], np.int32)
        ids_T = ids_U.take(block.codes_T)
        if ids_U.min() < 0:
            ids_T = _settle_marks(ids_T, marks, f"{place} {{}}", block.line)
        begins.append(np.flatnonzero(ids_T == BEGIN) + ids.length)
        ids.append(ids_T)

    # Each line ends with the begin of the next one, so the last begin is the end of the text.
    return LineCorpus(ids.finish()[:-1], begins.finish(), tuple(names) if fixed is None else fixed)


def _tokens(numbered: tuple[int, bytes]) -> _Block:
    """Return the distinct words of a block in order of appearance, and the code of each token.

    The end of a line and the begin of the next are tokens too. Each token includes the blank after it, so the tokens
    are consecutive strings in the text itself, and nothing is split or copied before they are encoded.
    """
    line, text = numbered
    damaged = None
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        damaged = line + text.count(b"\n", 0, error.start)
        text = text.decode("utf-8", "replace").encode()

    rows = text.translate(_BLANKS).replace(b"\n", f" {_END} {_BEGIN} ".encode())
    blanks = np.flatnonzero(np.frombuffer(rows, np.uint8) == ord(" "))
    starts = np.concatenate([[0], blanks + 1])
    strings = pa.LargeStringArray.from_buffers(
        len(blanks), pa.py_buffer(starts), pa.py_buffer(rows)
    )
    tokens = strings.dictionary_encode()
    # Read the buffer directly: `to_numpy` would load pandas.
    codes_T = np.frombuffer(tokens.indices.buffers()[1], np.int32, len(blanks))
    words_U = [word[:-1] for word in tokens.dictionary.to_pylist()]
    if "" in words_U:  # the empty word between two blanks
        codes_T = codes_T.compress(codes_T != words_U.index(""))

    return _Block(line, words_U, codes_T, damaged)


def _settle_marks(
    ids_T: np.ndarray,
    marks: Marks,
    message: str,
    line: int,
) -> np.ndarray:
    """Return the ids of a text with marks: marks are removed ("skip") or become unknown words ("unknown").

    Raises:
        ModelError: A mark is not allowed; kind "input".
    """
    refused_T = ids_T < (-1 if marks == "unknown" else 0)
    if marks != "skip" and refused_T.any():
        at = int(refused_T.argmax())
        number = line + int((ids_T[:at] == END).sum())
        word = MARKS[-1 - int(ids_T[at])]
        remedy = '; marks "skip" leaves marks out, "unknown" counts <unk> as the unknown word' * (
            marks == "refuse"
        )
        what = f"the word {word!r} is a mark of the model, not text"
        raise ModelError(f"{message.format(number)}: {what}{remedy}", kind="input")

    if marks == "skip":
        return ids_T[ids_T >= 0]
    return np.maximum(ids_T, UNK)
