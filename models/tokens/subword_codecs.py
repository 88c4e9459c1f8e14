r"""Encode text without loss: `SubwordUnit` (byte-level BPE; Unigram with bytes), `CharUnit` (characters, bytes).

Decoding restores any text byte for byte. The entries of a unit begin at id `FIRST`. Special tokens are not among them,
so no text can be encoded as a special token.

Before BPE or Unigram a text is cut into pieces. The cut is GPT-2's (Radford et al. 2019): a piece does not mix letters
with digits or punctuation, and the last character of a run of white space belongs to the word that follows. Each
distinct chunk of a text (`word_pieces.Chunks`) is cut and encoded only once: no piece is in two chunks.

Training counts pieces in polars, whose expressions do not have the look-ahead of the second rule. So `PATTERN` matches
a run of two or more together with all that follows up to the next white space. `SPLIT` also has boundaries at the
beginning and the end of such a piece, so cutting the piece alone gives the same result as cutting it in its text.
(`\s`, `\p{L}` and `\p{N}` are the same characters in both engines: see the tests.)
"""

from __future__ import annotations

import json
from abc import abstractmethod
from array import array
from codecs import getincrementaldecoder
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from tokenizers import Tokenizer

from .word_pieces import Chunks, TokenWriter
from .words import FIRST

UNKNOWN = "<unk>"
"""Entry 0 of the tokenizer's own table. It never occurs, because the text "<unk>" is cut into three pieces."""

SPLIT = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""GPT-2's cut, for the `tokenizers` package."""
PATTERN = r"\s{2,}\S*|'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s"
"""The same cut without look-ahead, for polars; a run of white space includes the text that follows."""
CACHED = 1 << 18
"""Number of chunks whose ids are kept; above it, all are forgotten."""
FEW_BYTES = 2_000
"""Number of UTF-8 bytes up to which calling the tokenizer directly is faster."""


class LosslessUnit:
    """Base class of the lossless units: an entry is a string of bytes, a text is the bytes of its tokens.

    Args:
        entries: The bytes of each entry, from id `FIRST` on.
    """

    lossless = True

    def __init__(self, entries: Sequence[bytes]) -> None:
        self._entries = list(entries)
        self.size = FIRST + len(self._entries)

    def decode(self, ids: Iterable[int], before: str = "") -> str:
        """Return the text of the ids; bytes that are not a whole character are left out. *before* has no effect."""
        raw = b"".join(self._entries[i - FIRST] for i in ids if i >= FIRST)
        return raw.decode("utf-8", "ignore")

    def writer(self, before: str = "") -> TokenWriter:
        """Return a function that takes the ids of a text one by one, and returns the characters that each completes."""
        decoder = getincrementaldecoder("utf-8")("ignore")

        def write(token: int) -> str:
            if token >= FIRST:
                return decoder.decode(self._entries[token - FIRST])
            return ""

        def shown(token: int) -> str:
            state = decoder.getstate()
            text = write(token)
            decoder.setstate(state)
            return text

        return TokenWriter(write, shown)

    def place(self, before: str) -> None:
        """Return None: an entry adds the same text after any other."""

    def texts_after(self, before: str) -> list[bytes]:
        """Return the text that each entry adds."""
        return self._entries

    def entry(self, token: int) -> bytes:
        """Return the bytes of the entry."""
        return self._entries[token - FIRST]

    def piece(self, token: int) -> str:
        """Return the entry as text; bytes of an incomplete character are shown as `<0xNN>`."""
        raw = self.entry(token)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return "".join(f"<0x{byte:02X}>" for byte in raw)

    @abstractmethod
    def encode_batch(self, texts: Sequence[str] | pl.Series) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of all texts, one after another (int32), and the number of ids of each text (int64)."""
        raise NotImplementedError

    def encode(self, text: str) -> np.ndarray:
        """Return the ids (int32) of one text."""
        return self.encode_batch([text])[0]

    def encode_priced(
        self, texts: Sequence[str] | pl.Series, whole: bool = True
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return ids and lengths as `encode_batch`, and no prices, because no text is unknown or dropped."""
        return *self.encode_batch(texts), np.zeros(0), np.zeros(len(texts))


class SubwordUnit(LosslessUnit):
    """A tokenizer of the `tokenizers` package, without special tokens.

    Args:
        tokenizer: Its JSON form as a dictionary. Entry 0 is `UNKNOWN`; entry r has id r + `FIRST` − 1.
    """

    def __init__(self, tokenizer: dict[str, Any]) -> None:
        self._json = tokenizer
        self._tokenizer = Tokenizer.from_str(json.dumps(tokenizer))
        self._ids_of: dict[str, bytes] = {}
        byte_level = tokenizer["model"]["type"] == "BPE"
        names = sorted(self._tokenizer.get_vocab().items(), key=lambda item: item[1])
        to_bytes = _byte_level if byte_level else _byte_fallback
        super().__init__([to_bytes(name) for name, _ in names[1:]])

    def __reduce__(self) -> tuple[Any, ...]:
        return SubwordUnit, (self._json,)  # without the chunks that it has seen

    def encode_batch(self, texts: Sequence[str] | pl.Series) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of all texts, one after another (int32), and the number of ids of each text (int64)."""
        if len(texts) == 1 and len(texts[0]) <= FEW_BYTES:  # five times as fast
            ids = self.encode(texts[0])
            return ids, np.array([len(ids)])

        chunks = Chunks.of(pl.Series("text", texts, dtype=pl.String))
        ids_of = self._ids_of
        distinct = chunks.distinct.to_list()
        if len(ids_of) > CACHED:  # another thread may still read the old one
            self._ids_of = ids_of = {}

        new = [chunk for chunk in distinct if chunk not in ids_of]
        encoded = self._tokenizer.encode_batch_fast(new, add_special_tokens=False)
        ids_of.update(
            (chunk, array("i", encoding.ids).tobytes())
            for chunk, encoding in zip(new, encoded, strict=True)
        )
        rows = [ids_of[chunk] for chunk in distinct]
        ids_P = np.frombuffer(b"".join(rows), np.int32)
        index_N, lengths = chunks.pieces(
            np.fromiter(map(len, rows), np.int64, len(rows)) // ids_P.itemsize
        )
        return ids_P[index_N] + np.int32(FIRST - 1), lengths

    def encode(self, text: str) -> np.ndarray:
        """Return the ids (int32) of one text."""
        if len(text) > FEW_BYTES:
            return super().encode(text)
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        return np.array(ids, np.int32) + np.int32(FIRST - 1)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"tokenizer": self._json}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SubwordUnit:
        """Rebuild the unit from the result of `to_dict`."""
        return cls(dict(values["tokenizer"]))


class CharUnit(LosslessUnit):
    """Characters in descending frequency; other characters are encoded as their UTF-8 bytes.

    Args:
        characters: Entries from id `FIRST` on; after them come the bytes that other characters may need.
    """

    def __init__(self, characters: Sequence[str]) -> None:
        self._characters = list(characters)
        spare = spare_bytes(set(self._characters))
        super().__init__([char.encode() for char in self._characters] + [bytes([b]) for b in spare])
        self._char_ids = np.zeros(0x110000, np.int32)
        points = np.array([ord(char) for char in self._characters], np.int64)
        self._char_ids[points] = np.arange(len(points)) + FIRST
        self._byte_ids = np.zeros(256, np.int32)
        self._byte_ids[spare] = np.arange(len(spare)) + FIRST + len(points)

    def encode_batch(self, texts: Sequence[str] | pl.Series) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of all texts, one after another (int32), and the number of ids of each text (int64)."""
        if isinstance(texts, pl.Series):
            texts = texts.to_list()

        points = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32)
        sizes = np.fromiter(map(len, texts), np.int64, len(texts))
        ids = self._char_ids[points]
        rare = np.flatnonzero(ids == 0)
        if not len(rare):
            return ids, sizes

        distinct, which = np.unique(points[rare], return_inverse=True)
        spelled = [self._byte_ids[list(chr(point).encode())] for point in distinct]
        widths = np.ones(len(ids), np.int64)
        widths[rare] = np.array(list(map(len, spelled)))[which]
        wide = np.repeat(ids, widths)
        wide[wide == 0] = np.concatenate([spelled[number] for number in which])
        ends = np.concatenate([[0], np.cumsum(widths)])[np.concatenate([[0], np.cumsum(sizes)])]
        return wide, np.diff(ends)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"characters": self._characters}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CharUnit:
        """Rebuild the unit from the result of `to_dict`; raise ValueError for other values."""
        characters = values["characters"]
        if not isinstance(characters, list) or not all(
            isinstance(char, str) and len(char) == 1 for char in characters
        ):
            raise ValueError("'characters' must be a list of single characters")
        if len(set(characters)) < len(characters):
            raise ValueError("'characters' holds one of them twice")
        return cls(characters)


def spare_bytes(characters: Container[str]) -> list[int]:
    """Return the bytes that may be needed for characters without their own entry."""
    return [
        b for b in range(0xF5) if b not in (0xC0, 0xC1) and not (b < 128 and chr(b) in characters)
    ]


def _byte_fallback(name: str) -> bytes:
    if len(name) == 6 and name.startswith("<0x") and name.endswith(">"):
        return bytes([int(name[3:5], 16)])
    return name.encode()


def _alphabet() -> dict[str, int]:
    """Return GPT-2's table: printable character → byte (`bytes_to_unicode` in GPT-2's encoder.py)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


BYTE_OF = _alphabet()
"""Character of a byte-level entry → its byte."""


def _byte_level(name: str) -> bytes:
    return bytes(BYTE_OF[char] for char in name)
