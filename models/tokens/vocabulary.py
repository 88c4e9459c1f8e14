"""Convert text to ids and back: words, byte-level BPE, Unigram and characters behind one interface.

Every stream is `<bos> <stars_k> w1 … wn <eos>`. The special tokens have fixed ids and are not in the table of any
unit, so a text that looks like a special token ("<eos>") stays text. A vocabulary stores the normal form of its
training text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..base import VOCABULARY_FILE, ModelError, translate_read_errors
from ..specs import VocabularySpec
from ..text.normal_form import NormalForm
from .special import BOS, EOS, SPECIAL, STARS, UNK, EncodedDocuments
from .subword_codecs import CharUnit, SubwordUnit
from .word_pieces import TokenWriter
from .words import FIRST, WordUnit

BOUNDARY_POLICY = "review: <bos> <stars_k> text <eos>; scored: text and <eos>"
FORMAT = 2
FILE = VOCABULARY_FILE
BATCH_ROWS = 20_000
"""Maximum number of texts in one batch."""
BATCH_CHARACTERS = 4 << 20
"""Maximum number of characters of the texts in one batch."""


class Vocabulary:
    """The map between text and ids.

    Args:
        spec: Options that it was trained with.
        normal_form: Normal form of the training text; prompts must be in it before `encode`.
        unit: Table of entries and its rules.

    Attributes:
        lossless: Whether decoding restores any text byte for byte.
        facts: Facts about the training (`training/vocabularies/`): distinct strings, occurrences … Not stored.
    """

    boundary_policy = BOUNDARY_POLICY

    def __init__(
        self,
        spec: VocabularySpec,
        normal_form: NormalForm,
        unit: WordUnit | SubwordUnit | CharUnit,
    ) -> None:
        self.spec = spec
        self.normal_form = normal_form
        self._unit = unit
        self.unit: str = spec.unit
        self.size: int = unit.size
        self.lossless: bool = unit.lossless
        self.facts: dict[str, int | float] = {}

    def __len__(self) -> int:
        return self.size

    def encode(self, text: str) -> np.ndarray:
        """Return the ids (int32) of a text in normal form, without special tokens at its begin and end."""
        return self._unit.encode(text)

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the ids of each text, as `encode` does."""
        if not len(texts):
            return []
        ids, lengths = self._unit.encode_batch(texts)
        return np.split(ids, np.cumsum(lengths)[:-1])

    def encode_documents(
        self,
        texts: Sequence[str] | pl.Series,
        stars: Sequence[int] | np.ndarray,
        whole: bool = True,
    ) -> EncodedDocuments:
        """Return whole reviews as streams, with the price of what the ids leave out.

        Args:
            texts: D cleaned texts.
            stars: D ratings, 0 (unknown) to 5.
            whole: Also compute the prices of what the ids leave out, which takes as long as encoding; training does
                not need them.
        """
        count = len(texts)
        if not count:
            none = np.zeros(0)
            return EncodedDocuments(
                np.zeros(0, np.int32),
                np.zeros(1, np.int64),
                np.zeros(0, np.int32),
                none,
                none,
            )

        tokens, lengths, unknown_nats, surface_nats = self._unit.encode_priced(texts, whole)
        offsets = np.concatenate([[0], np.cumsum(lengths + 3)])
        first = offsets[:-1]
        last = offsets[1:] - 1
        ids = np.empty(offsets[-1], np.int32)
        of_text = np.ones(offsets[-1], bool)
        of_text[first] = of_text[first + 1] = of_text[last] = False
        ids[of_text] = tokens
        ids[first] = BOS
        ids[last] = EOS
        ids[first + 1] = np.asarray(STARS, np.int32)[np.asarray(stars, np.int64)]
        rows = np.searchsorted(np.cumsum(lengths), np.flatnonzero(tokens == UNK), side="right")
        oov = np.bincount(rows, minlength=count).astype(np.int32)
        spelt_nats = np.bincount(rows, weights=unknown_nats, minlength=count)
        return EncodedDocuments(
            ids,
            offsets,
            oov,
            spelt_nats + surface_nats,
            surface_nats,
        )

    @staticmethod
    def prefix(stars: int | None) -> list[int]:
        """Return the first tokens of a review with *stars* stars (None or 0: rating unknown)."""
        return [BOS, STARS[stars or 0]]

    def decode(self, ids: Iterable[int], before: str = "") -> str:
        """Return the ids as normal text, without special tokens.

        Args:
            ids: Tokens; the tokens of `prefix` and `<eos>` may be among them.
            before: Text before the result, which continues it: `before + decode(ids, before)` is correct text. Lossless
                units ignore it.
        """
        return self._unit.decode((int(i) for i in ids), before)

    def writer(self, before: str = "") -> TokenWriter:
        """Return a function that takes the ids of a text one by one, and returns what each adds to the text.

        All that it returns for some ids is `decode(ids, before)`.
        """
        return self._unit.writer(before)

    def place(self, before: str) -> Hashable:
        """Return the state of a text on which spacing and capitals of the next entry depend; None for lossless units."""
        return self._unit.place(before)

    def texts_after(self, before: str) -> list[bytes]:
        """Return the text (UTF-8) that each entry that is not a special token would add to *before*, in order."""
        return self._unit.texts_after(before)

    def token(self, token: int) -> str:
        """Return the name of one entry, for tables."""
        if token < FIRST:
            return SPECIAL[token]
        return self._unit.piece(int(token))

    def entry(self, token: int) -> bytes:
        """Return the UTF-8 bytes of one entry that is not a special token; they may be part of a character."""
        return self._unit.entry(int(token))

    @property
    def word_unit(self) -> WordUnit | None:
        """The rules of words, None for parts of words and characters."""
        return self._unit if isinstance(self._unit, WordUnit) else None

    @cached_property
    def word_start_V(self) -> np.ndarray:
        """Mask of the entries that are a word, or the beginning of a word with the space before it (bool)."""
        if isinstance(self._unit, WordUnit):
            return self._unit.is_word_V
        begins = []
        for token, piece in self._pieces():
            begins.append(token >= FIRST and piece[0] == " " and _is_text(piece[1:]))

        return np.array(begins)

    @cached_property
    def word_part_V(self) -> np.ndarray:
        """Mask of the subword entries that continue a word: letters, digits, apostrophes, partial characters (bool)."""
        return np.array([i >= FIRST and _is_text(p) for i, p in self._pieces()])

    def _pieces(self) -> Iterable[tuple[int, str]]:
        return ((i, self.token(i)) for i in range(self.size))

    def to_json(self) -> str:
        """Return everything as one JSON text with sorted keys, so that it can be hashed."""
        return json.dumps(
            self._values(),
            sort_keys=True,
            ensure_ascii=False,
            separators=(",", ":"),
            allow_nan=False,
        )

    def _values(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "boundary_policy": self.boundary_policy,
            "lossless": self.lossless,
            "spec": asdict(self.spec),
            "normal_form": self.normal_form.to_dict(),
            "unit": self._unit.to_dict(),
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 of `to_json`, as hex digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """Rebuild the vocabulary from the result of `to_json`.

        Raises:
            ModelError: kind "bundle": the text is not a vocabulary, or has a different format.
        """
        with translate_read_errors("the vocabulary"):
            values = json.loads(text)
            _check_format(values)
            spec = VocabularySpec(**values["spec"])
            made = cls(
                spec, NormalForm.from_dict(values["normal_form"]), _unit(spec, values["unit"])
            )
            made.to_json().encode()  # fails for a lone surrogate: JSON allows it, but it has no bytes and so no digest
            return made

    def save(self, path: Path) -> None:
        """Write `to_json` to a file."""
        path.write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read a vocabulary that `save` wrote.

        Raises:
            ModelError: kind "bundle": the file cannot be read, or see `from_json`.
        """
        with translate_read_errors(f"the vocabulary {path}"):
            return cls.from_json(path.read_text(encoding="utf-8"))


def page(vocabulary: Vocabulary, prompt: str) -> str:
    """Return the text that a model reads for a prompt: its normal form, with the prompt's line breaks at the end."""
    clean = vocabulary.normal_form.apply(prompt)
    breaks = prompt[len(prompt.rstrip()) :].count("\n")
    if clean:
        return clean + "\n" * min(breaks, 2)
    return clean


def batch_texts(
    texts: Iterable[str],
    rows: int = BATCH_ROWS,
    characters: int = BATCH_CHARACTERS,
) -> Iterator[list[str]]:
    """Yield lists of at most *rows* texts; a list ends with the text that reaches *characters* characters."""
    iterator = iter(texts)
    while batch := list(islice(iterator, 1)):
        size = len(batch[0])
        for text in islice(iterator, rows - 1) if size < characters else ():
            batch.append(text)
            size += len(text)
            if size >= characters:
                break
        yield batch


def _is_text(piece: str) -> bool:
    partial = piece.startswith("<0x") and len(piece) % 6 == 0
    return bool(piece) and (partial or all(char.isalnum() or char in "'’" for char in piece))


def _unit(spec: VocabularySpec, values: Mapping[str, Any]) -> WordUnit | SubwordUnit | CharUnit:
    if spec.unit == "word":
        return WordUnit.from_dict(values, spec.lowercase)
    if spec.unit == "char":
        return CharUnit.from_dict(values)
    return SubwordUnit.from_dict(values)


def _check_format(values: Mapping[str, Any]) -> None:
    for name, ours in (("format", FORMAT), ("boundary_policy", BOUNDARY_POLICY)):
        if values[name] != ours:
            raise ModelError(
                f"the vocabulary has {name} {values[name]!r}; this version reads {ours!r}", "bundle"
            )
