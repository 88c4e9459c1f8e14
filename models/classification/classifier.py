"""Define the interface of every classifier, so that callers need not know its kind.

Shapes: N reviews, K labels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..base import ModelError
from ..neural.labelling.rows import Rows
from .texts import text_rows, without_empty

if TYPE_CHECKING:
    from ..tokens.vocabulary import Vocabulary

WEIGHTS, FEATURES = "weights.safetensors", "features.safetensors"


class Classifier(ABC):
    """A fitted classifier.

    Args:
        spec: Its options, with the labels.
        entries: V of its vocabulary.
        prior_K: Share of each label in the training reviews, above 0: the answer to a text without tokens.

    Attributes:
        probabilistic: Whether softmax(scores) are probabilities.
    """

    probabilistic: bool = True

    def __init__(self, spec: Any, entries: int, prior_K: np.ndarray) -> None:
        self.spec, self.entries, self.prior_K = spec, entries, prior_K

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

    def probabilities(self, sequences: Rows) -> np.ndarray:
        """Return the probability of each label (N, K; float64); each row sums to 1.

        Raises:
            ModelError: kind "input": see `scores`; or the classifier has no probabilities.
        """
        return self.normalised(self.scores(sequences))

    def normalised(self, scores_NK: np.ndarray) -> np.ndarray:
        """Return softmax(scores).

        Raises:
            ModelError: kind "input": the classifier has no probabilities.
        """
        if not self.probabilistic:
            raise ModelError(f"a classifier of the loss {self.spec.loss!r} has no probabilities: use scores", "input")
        return softmax(scores_NK)

    def answers(self, scores_NK: np.ndarray) -> np.ndarray:
        """Return the number of the label with the highest score (N, int64); of equal scores the first."""
        return np.argmax(scores_NK, axis=1).astype(np.int64)

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write weights or tables into *folder*: data only, no pickles."""
        raise NotImplementedError

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, spec: Any, vocabulary: Vocabulary, device: str = "cpu") -> Self:
        """Open a classifier that `save` wrote.

        Raises:
            ModelError: kind "bundle": a file is missing or damaged, or does not fit the spec or the vocabulary.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class ClassifierFit:
    """A fitted classifier and a summary of the fit (numbers only: parameters, seconds, figures on validation …)."""

    model: Classifier
    summary: Mapping[str, float]


def prior(targets_N: np.ndarray, labels: int) -> np.ndarray:
    """Return the share of each label (K), with 0.5 added to each count."""
    counts_K = np.bincount(targets_N, minlength=labels) + 0.5
    shares_K: np.ndarray = counts_K / counts_K.sum()
    return shares_K


def log_softmax(scores_NK: np.ndarray) -> np.ndarray:
    """Return log softmax of each row."""
    shifted_NK = scores_NK - scores_NK.max(1, keepdims=True)
    logs_NK: np.ndarray = shifted_NK - np.log(np.exp(shifted_NK).sum(1, keepdims=True))
    return logs_NK


def softmax(scores_NK: np.ndarray) -> np.ndarray:
    """Return softmax of each row; each sums to 1."""
    exp_NK = np.exp(scores_NK - scores_NK.max(1, keepdims=True))
    shares_NK: np.ndarray = exp_NK / exp_NK.sum(1, keepdims=True)
    return shares_NK


def log_loss(scores_NK: np.ndarray, targets_N: np.ndarray) -> float:
    """Return the mean of −log softmax(scores) of the targets, in nats."""
    return -float(log_softmax(scores_NK)[np.arange(len(targets_N)), targets_N].mean())
