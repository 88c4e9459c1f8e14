"""Bring reviews into the form that classifiers read: text tokens alone, or between `<bos>` and `<eos>`.

A classifier must not see the star token of a review's stream, which would give the answer away.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..neural.labelling.rows import Rows, Sequences
from ..tokens.special import BOS, EOS, UNK
from ..tokens.words import FIRST

LONGEST = 65_536
"""Tokens of a text that a network of word embeddings reads; it ignores the rest. The memory of one pass is bounded."""


def text_rows(sequences: Rows) -> Rows:
    """Return reviews without special tokens, with their texts; a review may be empty then. Unknown words stay."""
    special_P = (sequences.ids_P < FIRST) & (sequences.ids_P != UNK)
    special = np.flatnonzero(special_P)  # a few of each review
    if not len(special):
        return Rows(sequences.ids_P, sequences.offsets, written=sequences.written)
    offsets = sequences.offsets - np.searchsorted(special, sequences.offsets)
    return Rows(np.asarray(sequences.ids_P)[~special_P], offsets, written=sequences.written)


def without_empty(texts: Rows) -> Rows:
    """Return the texts that have at least one token, in their order."""
    filled_N = texts.lengths > 0
    written = None if texts.written is None else texts.written.filter(filled_N)
    return Rows(texts.ids_P, np.concatenate([[0], np.cumsum(texts.lengths[filled_N])]), written=written)


def framed(texts: Rows, before: Sequence[int] = (BOS,), longest: int = LONGEST) -> Sequences:
    """Return each text between the tokens *before* and `<eos>`, after its first *longest* tokens."""
    lengths, first = np.minimum(texts.lengths, longest), len(before)
    offsets = np.concatenate([[0], np.cumsum(lengths + first + 1)])
    ids_P = np.empty(offsets[-1], texts.ids_P.dtype)
    of_text_P = np.ones(offsets[-1], bool)
    for place, token in enumerate(before):
        ids_P[offsets[:-1] + place], of_text_P[offsets[:-1] + place] = token, False
    ids_P[offsets[1:] - 1], of_text_P[offsets[1:] - 1] = EOS, False
    ids_P[of_text_P] = texts.ids_P if lengths.sum() == len(texts.ids_P) else texts.ids_P[_begins(texts, longest)]
    return Sequences(ids_P, offsets)


def _begins(texts: Rows, longest: int) -> np.ndarray:
    """Return a mask of the first *longest* tokens of each text."""
    kept_P = np.ones(len(texts.ids_P), bool)
    for row in np.flatnonzero(texts.lengths > longest):
        kept_P[texts.offsets[row] + longest : texts.offsets[row + 1]] = False
    return kept_P
