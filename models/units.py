"""Lossless units: byte-level BPE, Unigram with byte fallback, and characters with byte fallback.

Any text comes back byte for byte. Each keeps its own entries from id `FIRST` on; the special tokens are none of them,
so no text can be mistaken for one.
"""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from .base import ModelError
from .words import FIRST

SPLIT = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""GPT-2's cut before BPE (Radford et al. 2019): no piece crosses from letters to digits or punctuation."""
UNKNOWN = "<unk>"
"""Entry 0 of the tokenizer's own table. Never met: `SPLIT` cuts such a text into three pieces."""

SPARE = 243
"""Bytes that occur in UTF-8 text: all but C0, C1 and F5 to FF."""


class LosslessUnit:
    """What the lossless units share: an entry is a string of bytes, a text is the bytes of its tokens.

    Args:
        entries: The bytes of each entry, from id `FIRST` on.
    """

    lossless = True

    def __init__(self, entries: Sequence[bytes]) -> None:
        self._entries = list(entries)
        self.size = FIRST + len(self._entries)

    def decode(self, ids: Iterable[int], before: str = "") -> str:
        """Return the text that continues *before*; bytes that are no whole character are left out."""
        raw = b"".join(self._entries[i - FIRST] for i in ids if i >= FIRST)
        return raw.decode("utf-8", "ignore")

    def piece(self, token: int) -> str:
        """Return the entry as text; a part of a character shows as `<0xNN>`."""
        raw = self._entries[token - FIRST]
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return "".join(f"<0x{byte:02X}>" for byte in raw)

    @abstractmethod
    def encode_batch(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of all texts in a row (int32) and how many each has (int64)."""
        raise NotImplementedError

    def encode_priced(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return ids and lengths as `encode_batch`, and zeros: nothing is unknown, nothing has to be spelled."""
        ids, lengths = self.encode_batch(texts)
        return ids, lengths, np.zeros(len(ids))


class SubwordUnit(LosslessUnit):
    """A tokenizer of the `tokenizers` package, without special tokens.

    Args:
        tokenizer: Its JSON form as a dictionary. Entry 0 is `UNKNOWN`; entry r has id r + `FIRST` − 1.
    """

    def __init__(self, tokenizer: dict[str, Any]) -> None:
        self._json = tokenizer
        self._tokenizer = Tokenizer.from_str(json.dumps(tokenizer))
        byte_level = tokenizer["model"]["type"] == "BPE"
        names = sorted(self._tokenizer.get_vocab().items(), key=lambda item: item[1])
        to_bytes = _byte_level if byte_level else _byte_fallback
        super().__init__([to_bytes(name) for name, _ in names[1:]])

    @classmethod
    def train_bpe(cls, texts: Iterable[str], size: int, min_count: int) -> SubwordUnit:
        """Byte-level BPE (Sennrich et al. 2016, Radford et al. 2019); a pair is merged if seen *min_count* times."""
        _require_room("bpe", size, 256)
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size - FIRST + 1, min_frequency=min_count, special_tokens=[UNKNOWN], show_progress=False,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        )
        tokenizer.train_from_iterator(texts, trainer)
        return cls({**json.loads(tokenizer.to_str()), "added_tokens": []})

    @classmethod
    def train_unigram(cls, texts: Iterable[str], size: int, min_count: int) -> SubwordUnit:
        """Unigram language model (Kudo 2018) with one entry per byte for characters seen less than *min_count* times.

        The trainer walks randomly seeded hash tables, and with threads the order of its pieces changes too: it runs in
        one thread, and `_in_order` takes out what is left of the tables' order.
        """
        _require_room("unigram", size, SPARE)
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(SPLIT), "isolated")
        trainer = trainers.UnigramTrainer(
            vocab_size=size - FIRST - SPARE + 1, special_tokens=[UNKNOWN], unk_token=UNKNOWN, show_progress=False
        )
        seen: Counter[str] = Counter()
        with _one_thread():
            tokenizer.train_from_iterator(_counting(texts, seen), trainer)
        values = json.loads(tokenizer.to_str())
        pieces = _in_order({piece: score for piece, score in values["model"]["vocab"] if piece != UNKNOWN})
        kept = [(piece, score) for piece, score in pieces if len(piece) > 1 or seen[piece] >= min_count]
        floor = min((score for _, score in kept), default=0.0) - 10.0
        spare = [(f"<0x{byte:02X}>", floor) for byte in _spare(dict(kept))]
        values["model"]["vocab"] = [(UNKNOWN, floor), *kept, *spare]
        values["model"].update(unk_id=0, byte_fallback=True)
        return cls({**values, "added_tokens": []})

    def encode_batch(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of all texts in a row (int32) and how many each has (int64)."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        lists = [encoding.ids for encoding in encodings]
        lengths = np.fromiter(map(len, lists), np.int64, len(lists))
        raw = np.fromiter(chain.from_iterable(lists), np.int32, int(lengths.sum()))
        return raw + np.int32(FIRST - 1), lengths

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"tokenizer": self._json}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SubwordUnit:
        """Rebuild what `to_dict` gave."""
        return cls(dict(values["tokenizer"]))


class CharUnit(LosslessUnit):
    """Characters in descending frequency; the others as the bytes of their UTF-8 form.

    Args:
        characters: Entries from id `FIRST` on; the bytes that the other characters can need follow.
    """

    def __init__(self, characters: Sequence[str]) -> None:
        self._characters = list(characters)
        spare = _spare(set(self._characters))
        super().__init__([char.encode() for char in self._characters] + [bytes([b]) for b in spare])
        self._char_ids = np.zeros(0x110000, np.int32)
        points = np.array([ord(char) for char in self._characters], np.int64)
        self._char_ids[points] = np.arange(len(points)) + FIRST
        self._byte_ids = np.zeros(256, np.int32)
        self._byte_ids[spare] = np.arange(len(spare)) + FIRST + len(points)

    @classmethod
    def train(cls, texts: Iterable[str], size: int, min_count: int) -> CharUnit:
        """Keep the most frequent characters that are seen at least *min_count* times (ties by code point)."""
        _require_room("char", size, SPARE)
        seen: Counter[str] = Counter()
        for _ in _counting(texts, seen):
            pass
        ranked = sorted(seen.items(), key=lambda item: (-item[1], item[0]))
        kept = [char for char, count in ranked if count >= min_count]
        return cls(kept[: size - FIRST - SPARE])

    def encode_batch(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of all texts in a row (int32) and how many each has (int64)."""
        points = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32)
        sizes = np.fromiter(map(len, texts), np.int64, len(texts))
        ids = self._char_ids[points]
        rare = np.flatnonzero(ids == 0)
        if not len(rare):
            return ids, sizes
        spelled = [self._byte_ids[list(chr(point).encode())] for point in points[rare]]
        widths = np.ones(len(ids), np.int64)
        widths[rare] = [len(part) for part in spelled]
        wide = np.repeat(ids, widths)
        wide[wide == 0] = np.concatenate(spelled)
        ends = np.concatenate([[0], np.cumsum(widths)])[np.concatenate([[0], np.cumsum(sizes)])]
        return wide, np.diff(ends)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"characters": self._characters}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CharUnit:
        """Rebuild what `to_dict` gave."""
        return cls(values["characters"])


def _in_order(scores: Mapping[str, float]) -> list[tuple[str, float]]:
    """Return pieces by falling score, the same for every run of the trainer.

    Sums differ in their last digits: rounded. Characters that the trainer adds at its end, because no piece holds them,
    get the lowest score + 0, 1, 2 … times 0.0001 in a random order: all of them get the lowest.
    """
    lowest = min(scores.values(), default=0.0)

    def added(piece: str, score: float) -> bool:
        steps = (score - lowest) / 1e-4
        return len(piece) == 1 and steps < len(scores) and abs(steps - round(steps)) < 1e-3

    same = [(piece, round(lowest if added(piece, score) else score, 6)) for piece, score in scores.items()]
    return sorted(same, key=lambda item: (-item[1], item[0]))


def _require_room(unit: str, size: int, bytes_needed: int) -> None:
    if size < FIRST + bytes_needed + 1:
        raise ModelError(
            f"size is {size}; a vocabulary of unit {unit!r} needs at least {FIRST + bytes_needed + 1}: "
            f"{FIRST} special tokens, {bytes_needed} bytes and one entry",
            "input",
        )


def _spare(known: Container[str]) -> list[int]:
    """Return the bytes that characters without an entry of their own can need."""
    return [b for b in range(0xF5) if b not in (0xC0, 0xC1) and not (b < 128 and chr(b) in known)]


def _counting(texts: Iterable[str], seen: Counter[str]) -> Iterator[str]:
    """Pass the texts on and count their characters."""
    for text in texts:
        seen.update(text)
        yield text


@contextmanager
def _one_thread() -> Iterator[None]:
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _byte_fallback(name: str) -> bytes:
    if len(name) == 6 and name.startswith("<0x") and name.endswith(">"):
        return bytes([int(name[3:5], 16)])
    return name.encode()


def _alphabet() -> dict[str, int]:
    """Return GPT-2's printable stand-in of each byte (`bytes_to_unicode` in its encoder.py)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


_BYTE_OF = _alphabet()


def _byte_level(name: str) -> bytes:
    return bytes(_BYTE_OF[char] for char in name)
