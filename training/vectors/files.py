"""Read and write word vectors as gensim's `KeyedVectors`: the folder of a fit, and the files of other programs.

gensim reads word2vec's binary form and whole fastText models. Text is read here, because
gensim's reader does not know tabs, aligned columns, encoding marks and words with spaces, cuts a file at the number of
words that its first line says, and names no line.
"""

from __future__ import annotations

import codecs
import json
import logging
import re
import struct
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from gensim.models import KeyedVectors
from gensim.models.fasttext import load_facebook_vectors
from safetensors.numpy import load_file, save_file

from reviewlm.models.atomic_files import new_file, save_tensors
from reviewlm.models.base import ModelError, sha256_of, translate_read_errors
from reviewlm.models.text.foreign_files import LONGEST_BEGIN
from reviewlm.training.text_source import MAGIC_BYTES, UTF8, mark_length, require_text, unpacker_of
from reviewlm.training.vectors.stored_rows import HEADER
from reviewlm.training.vectors.vector_fit import COUNT

Form = Literal["word2vec", "binary", "glove"]
ARRAYS = "vectors.safetensors"
MATRIX = "vectors"
FASTTEXT = b"\xba\x16\x4f\x2f"
"""First bytes of a whole fastText model (.bin)."""
FASTTEXT_HEADER = struct.Struct("<8xi24x2i12x8x4xi20x")
"""Numbers of its header: dimensions, kind of model, rows for character n-grams, and words."""
SUPERVISED = 3
BLANKS = re.compile(r"[ \t]+")
LONGEST_LINE = 2_000_000
"""Most bytes of a line of text."""
SAMPLE = 65_536
"""Number of bytes by which text and binary numbers are told apart."""
FLOAT = np.dtype("<f4")
MOST_ODD = 0.01
"""Share of damaged rows up to which a file of vectors is read without them."""
log = logging.getLogger(__name__)


def make_keyed_vectors(
    words: Sequence[str],
    matrix_ND: np.ndarray,
    counts: Sequence[int] = (),
) -> KeyedVectors:
    """Return vectors of N words.

    Raises:
        ModelError: kind "input": a number is not finite.
    """
    vectors = KeyedVectors(matrix_ND.shape[1], len(words))
    vectors.index_to_key = list(words)
    vectors.key_to_index = {word: row for row, word in enumerate(words)}
    vectors.vectors = np.ascontiguousarray(matrix_ND, np.float32)
    vectors.next_index = len(words)
    if len(counts):
        vectors.expandos[COUNT] = np.asarray(counts, np.int64)
    return _usable(vectors)


def _usable(vectors: KeyedVectors, origin: str = "") -> KeyedVectors:
    if not np.isfinite(vectors.vectors).all():
        wrong = vectors.index_to_key[int(np.flatnonzero(~np.isfinite(vectors.vectors).all(1))[0])]
        raise ModelError(
            f"{origin}the vector of {wrong[:40]!r} has a number that is not finite", "input"
        )

    with np.errstate(over="ignore"):
        vectors.fill_norms()

    # A vector of zeros has the cosine 0 to any other, not none.
    vectors.norms[vectors.norms == 0] = 1
    return vectors


def save_vectors(folder: Path, vectors: KeyedVectors) -> None:
    """Write vectors into a folder: the matrix, and JSON with words, counts and the matrix's SHA-256, written last."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / HEADER).unlink(missing_ok=True)
    save_tensors(save_file, {MATRIX: vectors.vectors}, folder / ARRAYS)
    counts = vectors.expandos.get(COUNT, np.zeros(0)).tolist()
    header = {
        "words": vectors.index_to_key,
        "counts": counts,
        "sha256": sha256_of(folder / ARRAYS),
    }
    (folder / HEADER).write_text(json.dumps(header, ensure_ascii=False) + "\n", encoding="utf-8")


def load_vectors(folder: Path) -> KeyedVectors:
    """Read vectors that `save_vectors` wrote.

    Raises:
        ModelError: kind "input": the folder holds no vectors; kind "bundle": a byte has changed.
    """
    if not (folder / HEADER).exists():
        raise ModelError(f"{folder} holds no word vectors: {HEADER} is missing", "input")
    with translate_read_errors(f"the word vectors in {folder}"):
        header = json.loads((folder / HEADER).read_text(encoding="utf-8"))
        if sha256_of(folder / ARRAYS) != header["sha256"]:
            raise ValueError(f"{ARRAYS} has changed since it was written")
        return make_keyed_vectors(
            header["words"], load_file(folder / ARRAYS)[MATRIX], header["counts"]
        )


def read_vectors(path: Path, only: Collection[str] | None = None) -> KeyedVectors:
    """Read vectors: a folder of `save_vectors`, or a file of word2vec, GloVe or fastText.

    The form of a file is seen from its content; those of text may be packed (gzip, bzip2,
    xz), word2vec's binary form by gzip. Of a word with
    several lines the first one counts.

    Args:
        only: Words to keep of a text file, so that a large one does not fill the memory; None: all.

    Raises:
        ModelError: kind "input": names the file and, of text, the line; kind "bundle": the folder is damaged. A few odd
            rows of text are no error: they are left out with a warning.
    """
    if path.is_dir():
        return load_vectors(path)

    with translate_read_errors(f"the vector file {path}", "input"), path.open("rb") as raw:
        unpack = unpacker_of(raw.read(MAGIC_BYTES))
        raw.seek(0)
        with unpack(raw) if unpack else raw as file:
            begin = file.read(LONGEST_BEGIN)
            require_text(path, begin)
            start = begin[: len(FASTTEXT)]
            file.seek(0)
            if start != FASTTEXT and not _is_binary(file):
                file.seek(0)
                return _read_text(path, file, only)  # type: ignore[arg-type]
            if start == FASTTEXT:
                _require_whole_model(path, file)

    if unpack and (start == FASTTEXT or path.suffix != ".gz"):
        raise ModelError(f"{path} is a packed binary file: unpack it, e.g. with gunzip", "input")

    try:
        if start == FASTTEXT:
            return _usable(load_facebook_vectors(str(path)), f"{path}: ")
        return _usable(KeyedVectors.load_word2vec_format(str(path), binary=True), f"{path}: ")
    except (
        EOFError,
        ValueError,
        AssertionError,
        NotImplementedError,
        struct.error,
        OverflowError,
    ) as error:
        form = "fastText model" if start == FASTTEXT else "binary file of word2vec"
        raise ModelError(
            f"{path} cannot be read as a {form}: {error or type(error).__name__}", "input"
        ) from error


def _require_whole_model(path: Path, file: IO[bytes] | Any) -> None:
    """Refuse what gensim does not: a classifier, and a cut model, which it would read for ever."""
    file.seek(0)
    header = file.read(FASTTEXT_HEADER.size)
    if len(header) < FASTTEXT_HEADER.size:
        raise ModelError(f"{path}: the fastText model ends inside its header", "input")

    dimensions, kind, bucket, words = FASTTEXT_HEADER.unpack(header)
    if kind == SUPERVISED:
        raise ModelError(f"{path} is a fastText classifier; word vectors are needed", "input")

    file.seek(FASTTEXT_HEADER.size + (words + bucket) * dimensions * FLOAT.itemsize - 1)
    if min(dimensions, words) < 1 or bucket < 0 or not file.read(1):
        raise ModelError(
            f"{path}: the fastText model is cut, or compressed by quantization", "input"
        )


def _is_binary(file: IO[bytes] | Any) -> bool:
    """Return whether a file that begins with a line of two numbers goes on with bytes that are no text."""
    if header_of(file.readline(LONGEST_LINE).decode("utf-8", "replace")) is None:
        return False
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(file.read(SAMPLE))
    except UnicodeDecodeError:
        return True
    return any(char < " " and char not in "\t\r\n" for char in text)


def _read_text(
    path: Path,
    file: IO[bytes],
    only: Collection[str] | None,
) -> KeyedVectors:
    """Read a word and its numbers from each line, between spaces or tabs; the first line may be "WORDS DIMENSIONS".

    The last D fields of a line are the numbers and everything before them is the word: some published files have words
    with spaces ("to name@x.com"). Published files also have rows whose word is a blank, which is no word here, and
    single damaged rows: such odd rows are set aside and counted, if they are few.
    """
    words: list[str] = []
    rows: list[np.ndarray] = []
    seen: set[str] = set()
    odd = OddRows(path)
    header: tuple[int, int] | None = None
    dimensions = 0
    count = 0
    for number, raw in _lines(path, file):
        if number == 1 and (header := header_of(raw.decode("utf-8", "replace"))) is not None:
            dimensions = header[1]
            continue
        count += 1
        if header and count > header[0]:
            raise _odd(path, number, f"the first line says {header[0]:,} words; here is one more")
        try:
            line = _line_of(raw)
            nameless = raw[:1].isspace() and _are_numbers(line.split(" "))
            dimensions = dimensions or line.count(" ") + nameless
            word, vector_D = _row_of(f" {line}" if nameless else line, dimensions)
        except OddRow as error:
            if not seen and not header and not error.nameless:  # it says how many numbers there are
                raise _odd(path, number, str(error)) from error
            odd.add(number, error, raw.endswith(b"\n"))
            continue
        if word not in seen and (only is None or word in only):
            words.append(word)
            rows.append(vector_D)
        seen.add(word)

    if header and count < header[0]:
        raise _odd(
            path,
            count + 2,
            f"the file ends after {count:,} words; its first line says {header[0]:,}",
        )

    odd.require_few(count)
    if not seen:
        raise _odd(path, 1, "there are no vectors")

    return make_keyed_vectors(
        words, np.stack(rows) if rows else np.zeros((0, dimensions), np.float32)
    )


class OddRow(Exception):
    """A row that has no word, or not its numbers; the message says what is wrong.

    Args:
        what: The message.
        nameless: Whether only the word is missing, so that the other rows are not in doubt.
    """

    def __init__(self, what: str, nameless: bool = False) -> None:
        super().__init__(what)
        self.nameless = nameless


class OddRows:
    """The odd rows of a file, which are set aside.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = 0
        self._damaged = 0
        self._first: tuple[int, OddRow] | None = None
        self._first_damaged: ModelError | None = None

    def add(
        self,
        number: int,
        row: OddRow,
        ended: bool,
    ) -> None:
        """Set a row aside.

        Args:
            number: Its line.
            row: What is wrong with it.
            ended: Whether a line break ends it.

        Raises:
            ModelError: kind "input": the file ends within the row, so it is probably cut.
        """
        error = _odd(self._path, number, str(row))
        if not ended:
            raise error
        self._count += 1
        self._first = self._first or (number, row)
        if not row.nameless:
            self._damaged += 1
            self._first_damaged = self._first_damaged or error

    def require_few(self, rows: int) -> None:
        """Warn of the rows that were set aside.

        Args:
            rows: Rows of the file.

        Raises:
            ModelError: kind "input": more than `MOST_ODD` of the rows are damaged; names the first one.
        """
        if self._first_damaged is not None and self._damaged > MOST_ODD * rows:
            raise self._first_damaged

        if self._first is not None:
            number, row = self._first
            log.warning(
                "%s: %s of %s rows are odd and were set aside; the first one is in line %d: %s",
                self._path,
                f"{self._count:,}",
                f"{rows:,}",
                number,
                row,
            )


def _line_of(raw: bytes) -> str:
    """Return a line with one space between its fields."""
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        what = f"the line is not UTF-8 text: {error.reason} at byte {error.start}"
        raise OddRow(what) from error
    if "\t" in line or "  " in line:  # columns that are aligned or between tabs
        line = BLANKS.sub(" ", line)
    return line.lstrip(" ").rstrip("\n").rstrip(" \r")


def _are_numbers(fields: Sequence[str]) -> bool:
    """Return whether each field is a number, so that none of them is the word."""
    try:
        np.array(fields, np.float64)
    except ValueError:
        return False
    return True


def _row_of(line: str, dimensions: int) -> tuple[str, np.ndarray]:
    """Return the word and the numbers (D, float32) of a line."""
    if dimensions:
        word, *fields = line.rsplit(" ", dimensions)
    else:
        word, *fields = [line]

    if len(fields) != dimensions or dimensions == 0:
        needed = f"a word and {dimensions or 'some'} numbers are needed"
        raise OddRow(f"{needed}; there are {line.count(' ')} numbers")

    try:
        with np.errstate(over="ignore"):
            vector_D = np.array(fields, np.float64).astype(np.float32)
    except ValueError as error:
        raise OddRow(f"a field is not a number: {error}") from None

    if not np.isfinite(vector_D).all():
        wrong = fields[int(np.flatnonzero(~np.isfinite(vector_D))[0])]
        raise OddRow(f"{wrong[:40]!r} is not a finite number of 32 bits")
    if not word.strip():
        raise OddRow("there is no word before the numbers", nameless=True)

    return word, vector_D


def header_of(line: str) -> tuple[int, int] | None:
    """Return words and dimensions of a first line that has just these two whole numbers, else None."""
    fields = line.removeprefix("\ufeff").split()
    if len(fields) == 2 and all(map(str.isdecimal, fields)):
        return int(fields[0]), int(fields[1])
    return None


def _lines(path: Path, file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    for number, raw in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), start=1):
        if number == 1:
            raw = raw[mark_length(path, raw[: len(UTF8)]) :]
        if len(raw) == LONGEST_LINE:
            raise _odd(path, number, "the line is longer than 2 MB")
        yield number, raw


def _odd(
    path: Path,
    number: int,
    what: str,
) -> ModelError:
    return ModelError(f"{path}, line {number}: {what}", "input")


def write_vectors(
    path: Path,
    vectors: KeyedVectors,
    form: Form,
) -> int:
    """Write vectors to a file; return the number of words written.

    Words with white space, such as line breaks, are left out: other programs could not read the file.

    Args:
        form: "word2vec" (text, also fastText's .vec), "binary" (word2vec's), or "glove", which has no first line.

    Raises:
        ModelError: kind "disk": the file cannot be written.
    """
    rows = [
        row
        for row, word in enumerate(vectors.index_to_key)
        if word and not any(map(str.isspace, word))
    ]
    with new_file(path) as file:
        if form != "glove":
            file.write(f"{len(rows)} {vectors.vector_size}\n".encode())
        for row in rows:
            vector_D = vectors.vectors[row]
            if form == "binary":
                numbers = vector_D.astype(FLOAT).tobytes()
            else:
                numbers = " ".join(map(str, vector_D)).encode()

            file.write(vectors.index_to_key[row].encode() + b" " + numbers + b"\n")

    return len(rows)
