"""Define the interface of every classifier, so that callers need not know its kind; what it reads, and its macro-F1.

A classifier must not see the star token of a review's stream, which would give the answer away.

Shapes: N reviews, K labels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..neural.labelling.rows import Rows, Sequences
from ..tokens.special import BOS, EOS, UNK
from ..tokens.words import FIRST

if TYPE_CHECKING:
    from ..tokens.vocabulary import Vocabulary

WEIGHTS = "weights.safetensors"
LONGEST_TEXT = 65_536
"""Tokens of a text that a network reads; it ignores the rest. The memory of one pass is bounded."""


class Classifier(ABC):
    """A fitted classifier.

    Args:
        spec: Its options, with the labels.
        entries: V of its vocabulary.
        prior_K: Share of each label in the training reviews, above 0: the answer to a text without tokens.
    """

    def __init__(
        self,
        spec: Any,
        entries: int,
        prior_K: np.ndarray,
    ) -> None:
        self.spec = spec
        self.entries = entries
        self.prior_K = prior_K

    def scores(self, sequences: Rows) -> np.ndarray:
        """Return the scores of each review (N, K; float64); the highest is the answer's.

        Args:
            sequences: Token ids, with or without special tokens, which are ignored. A review may be empty: its scores
                are the logarithms of the prior.

        Raises:
            ModelError: kind "input": an id is not in the vocabulary.
        """
        sequences.require_ids(self.entries)
        texts = text_rows(sequences)
        scores_NK = np.tile(np.log(self.prior_K), (len(texts), 1))
        filled_N = texts.lengths > 0
        if filled_N.any():
            scores_NK[filled_N] = self.scores_of_texts(without_empty(texts))
        return scores_NK

    @abstractmethod
    def scores_of_texts(self, texts: Rows) -> np.ndarray:
        """Return the scores (N, K; float64) of texts without special tokens, none of them empty."""
        raise NotImplementedError

    def answers(self, scores_NK: np.ndarray) -> np.ndarray:
        """Return the number of the label with the highest score (N, int64); of equal scores the first."""
        return np.argmax(scores_NK, axis=1).astype(np.int64)

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write weights or tables into *folder*: data only, no pickles."""
        raise NotImplementedError

    @classmethod
    @abstractmethod
    def load(
        cls,
        folder: Path,
        spec: Any,
        vocabulary: Vocabulary,
        device: str = "cpu",
    ) -> Self:
        """Open a classifier that `save` wrote.

        Raises:
            ModelError: kind "bundle": a file is missing or damaged, or does not fit the spec or the vocabulary.
        """
        raise NotImplementedError


def softmax(scores_NK: np.ndarray) -> np.ndarray:
    """Return softmax of each row; each sums to 1."""
    exp_NK = np.exp(scores_NK - scores_NK.max(1, keepdims=True))
    shares_NK: np.ndarray = exp_NK / exp_NK.sum(1, keepdims=True)
    return shares_NK


def text_rows(sequences: Rows) -> Rows:
    """Return reviews without special tokens; a review may be empty then. Unknown words stay."""
    special_P = (sequences.ids_P < FIRST) & (sequences.ids_P != UNK)
    special = np.flatnonzero(special_P)  # a few of each review
    if not len(special):
        return Rows(sequences.ids_P, sequences.offsets)
    return Rows(
        np.asarray(sequences.ids_P)[~special_P],
        sequences.offsets - np.searchsorted(special, sequences.offsets),
    )


def without_empty(texts: Rows) -> Rows:
    """Return the texts that have at least one token, in their order."""
    return Rows(texts.ids_P, np.concatenate([[0], np.cumsum(texts.lengths[texts.lengths > 0])]))


def frame_texts(texts: Rows, longest: int = LONGEST_TEXT) -> Sequences:
    """Return the first *longest* tokens of each text between `<bos>` and `<eos>`."""
    lengths = np.minimum(texts.lengths, longest)
    offsets = np.concatenate([[0], np.cumsum(lengths + 2)])
    ids_P = np.empty(offsets[-1], texts.ids_P.dtype)
    of_text_P = np.ones(offsets[-1], bool)
    for places, token in ((offsets[:-1], BOS), (offsets[1:] - 1, EOS)):
        ids_P[places] = token
        of_text_P[places] = False

    place_P = np.arange(len(texts.ids_P)) - np.repeat(texts.offsets[:-1], texts.lengths)
    ids_P[of_text_P] = texts.ids_P[place_P < longest]
    return Sequences(ids_P, offsets)


def mean_f1(
    true_K: Any,
    answered_K: Any,
    right_K: Any,
) -> Any:
    """Return the mean of F1 = 2 · right / (true + answered) over the labels that are the truth of a review.

    So the mean is over the same labels for every classifier of the same reviews. If it were also over labels that are
    only answered, as scikit-learn does by default, one wrong answer with such a label would add an F1 of 0 for its
    classifier alone. A wrong answer costs the recall of its true label in any case.

    Args:
        true_K: Number of reviews with each label as truth, (K,) or (K, …), for example of many samples.
        answered_K: Number of reviews with it as answer.
        right_K: Number of reviews with it as both.
    """
    true_K, answered_K, right_K = (
        np.asarray(counts, np.float64) for counts in (true_K, answered_K, right_K)
    )
    there_K = true_K > 0
    f1_K = np.where(there_K, 2 * right_K / np.maximum(true_K + answered_K, 1), 0.0)
    return f1_K.sum(0) / np.maximum(there_K.sum(0), 1)
