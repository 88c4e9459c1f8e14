"""Number the special tokens, which have the same ids in every vocabulary, and define the form of encoded reviews."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

UNK = 0
BOS = 1
EOS = 2
STARS = (3, 4, 5, 6, 7, 8)
"""`STARS[k]` is the second token of a review with k stars; k = 0: rating unknown."""
CONTEXT_IDS = frozenset((BOS, *STARS))
"""Ids that are given, never predicted: probability 0 in every model."""
SPECIAL = ("<unk>", "<bos>", "<eos>", *(f"<stars_{k}>" for k in range(6)))


class EncodedDocuments(NamedTuple):
    """D reviews as streams.

    Attributes:
        ids: All reviews one after another, with special tokens (int32).
        offsets: Where each review begins, and the end (D+1, int64).
        oov: Number of unknown words of each review (D, int32).
        spelling_nats: Price of everything that the ids leave out (D, float64): the letters of unknown words, plus
            `surface_nats`.
        surface_nats: Price of the case, spaces and quotes that a word vocabulary drops (D, float64).
    """

    ids: np.ndarray
    offsets: np.ndarray
    oov: np.ndarray
    spelling_nats: np.ndarray
    surface_nats: np.ndarray
