"""Score texts side by side: bring them into tokens, pad them, and read each text's scores out of the batch.

Shapes: B texts, T positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import exp, log
from typing import Any

import numpy as np

from ..streams import side_by_side
from ..tokens.special import BOS, UNK
from ..tokens.vocabulary import Vocabulary

LARGEST_EXPONENT = 700.0
"""exp of more overflows."""


@dataclass(frozen=True, repr=False)
class TextScore:
    """The scores of a model for one text.

    Args:
        tokens: Number of scored tokens: the text and its end.
        bytes: UTF-8 length of the text in normal form, plus 1 for its end.
        nats: −log p of the scored tokens.
        oov: Number of `<unk>` tokens (out-of-vocabulary words).
        per_token: Name and nats of each scored token, in order.
        spelling_nats: Nats of all that the tokens leave out: the letters of unknown words, which a model of characters
            spells (`models/tokens/spelling.py`), and `surface_nats`. So it may be above 0 where `oov` is 0.
        surface_nats: The part of it for capital letters, spaces, quotes and a missing end mark, which a vocabulary of
            words leaves out (`models/tokens/surface.py`).
    """

    tokens: int
    bytes: int
    nats: float
    oov: int
    per_token: list[tuple[str, float]] = field(repr=False)
    spelling_nats: float = 0.0
    surface_nats: float = 0.0

    def __repr__(self) -> str:
        """Return its totals, the figure to compare by first."""
        return (
            f"TextScore(open_bits_per_byte={self.open_bits_per_byte:.4f}, tokens={self.tokens}, bytes={self.bytes}, "
            f"nats={self.nats:.4f}, spelling_nats={self.spelling_nats:.4f}, surface_nats={self.surface_nats:.4f}, "
            f"oov={self.oov})"
        )

    @property
    def open_bits_per_byte(self) -> float:
        """Bits per byte of text, with all that tokens leave out: use it to compare models, or long texts."""
        return (self.nats + self.spelling_nats) / self.bytes / log(2)

    @property
    def bits_per_byte(self) -> float:
        """Bits per byte of text with `<unk>` as one token: too low for a text with many unknown words."""
        return self.nats / self.bytes / log(2)

    @property
    def perplexity(self) -> float:
        """Perplexity per token, the end of the text included; compare only models of the same vocabulary by it."""
        return exp(self.nats / self.tokens)


class TextsToScore:
    """Texts in the tokens of a vocabulary, each after the same first tokens, which are given and not predicted.

    Args:
        vocabulary: The vocabulary.
        prefix: The first tokens.
    """

    def __init__(self, vocabulary: Vocabulary, prefix: Sequence[int]) -> None:
        self._vocabulary = vocabulary
        self._prefix = list(prefix)
        self._ids: list[np.ndarray] = []
        self._bytes: list[int] = []
        self._spelling_nats: list[float] = []
        self._surface_nats: list[float] = []

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, texts: Sequence[str], stars: int | None) -> None:
        """Add some texts, brought into normal form."""
        clean = [self._vocabulary.normal_form.apply(text) for text in texts]
        encoded = self._vocabulary.encode_documents(clean, [stars or 0] * len(clean))
        for first, end in pairwise(encoded.offsets.tolist()):  # the first two ids are given
            own = encoded.ids[first + 2 : end].tolist()
            self._ids.append(np.array([*self._prefix, *own], np.int64))

        self._bytes += [len(text.encode()) + 1 for text in clean]
        self._spelling_nats += encoded.spelling_nats.tolist()
        self._surface_nats += encoded.surface_nats.tolist()

    def side_by_side(self, positions: int) -> list[list[int]]:
        """Return the texts in batches of similar length, the longest first; see `streams.side_by_side`."""
        lengths = np.array([len(ids) for ids in self._ids], np.int64)
        return [rows.tolist() for rows in side_by_side(lengths, positions)]

    def pad_tokens(self, rows: Sequence[int]) -> np.ndarray:
        """Return the tokens of some texts (B, T), padded with `<bos>`, which no model predicts."""
        each = [self._ids[row] for row in rows]
        ids_BT = np.full((len(rows), max(map(len, each))), BOS, np.int64)
        for row_T, ids in zip(ids_BT, each, strict=True):
            row_T[: len(ids)] = ids
        return ids_BT

    def predicted_positions(self, row: int) -> slice:
        """Return the positions of a text's predicted tokens: its own and its end."""
        return slice(len(self._prefix), len(self._ids[row]))

    def ids(self, row: int) -> np.ndarray:
        """Return a text's predicted tokens."""
        return self._ids[row][self.predicted_positions(row)]

    def score(self, row: int, nats_T: np.ndarray) -> TextScore:
        """Return the scores of a text.

        Args:
            row: Its number, in the order in which the texts were added.
            nats_T: Nats of each of its positions; those of the padding may follow.
        """
        ids = self.ids(row)
        nats = nats_T[self.predicted_positions(row)].tolist()
        names = [self._vocabulary.token(int(token)) for token in ids]
        return TextScore(
            tokens=len(ids),
            bytes=self._bytes[row],
            nats=sum(nats),
            oov=int((ids == UNK).sum()),
            per_token=list(zip(names, nats, strict=True)),
            spelling_nats=self._spelling_nats[row],
            surface_nats=self._surface_nats[row],
        )


def sum_of_scores(scores: Sequence[TextScore]) -> dict[str, Any]:
    """Return the totals over texts: perplexity per token and bits per byte of UTF-8, with the ends of texts included.

    Compare by the first figure: in `bits_per_byte` and `perplexity`, out-of-vocabulary words cost almost nothing.
    """
    nats = sum(score.nats for score in scores)
    tokens = sum(score.tokens for score in scores)
    size = sum(score.bytes for score in scores)
    spelling = sum(score.spelling_nats for score in scores)
    surface = sum(score.surface_nats for score in scores)
    oov = sum(score.oov for score in scores)
    return {
        "open_bits_per_byte": (nats + spelling) / size / log(2),
        "bits_per_byte": nats / size / log(2),
        "oov": oov,
        "texts": len(scores),
        "tokens": tokens,
        "bytes": size,
        "nats": nats,
        "spelling_nats": spelling,
        "surface_nats": surface,
        "perplexity": exp(min(nats / tokens, LARGEST_EXPONENT)),
        "scores": [_as_row(score) for score in scores],
    }


def _as_row(score: TextScore) -> dict[str, Any]:
    """Return the figures of one text as JSON values."""
    return {
        "open_bits_per_byte": score.open_bits_per_byte,
        "bits_per_byte": score.bits_per_byte,
        "oov": score.oov,
        "nats": score.nats,
        "spelling_nats": score.spelling_nats,
        "surface_nats": score.surface_nats,
        "tokens": score.tokens,
        "bytes": score.bytes,
        "per_token": score.per_token,
    }
