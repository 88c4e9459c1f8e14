"""Classify by a neural network on tf-idf features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from ..base import stored
from ..neural.labelling.labeller import Labeller
from ..neural.labelling.rows import InputRows, Rows
from .features.review_features import ReviewFeatures
from .network import NetworkClassifier, open_network
from .spec import TfidfSpec

if TYPE_CHECKING:
    from ..tokens.vocabulary import Vocabulary


class TfidfNetworkClassifier(NetworkClassifier):
    """Fully connected layers on tf-idf features.

    Args:
        labeller: Network and device.
        features: Learnt from the training reviews.
        prior_K: Share of each label in training.
    """

    def __init__(self, labeller: Labeller, features: ReviewFeatures, prior_K: np.ndarray) -> None:
        super().__init__(labeller, features.entries, prior_K)
        self.features = features

    def inputs(self, texts: Rows) -> InputRows:
        """Return the tf-idf vectors of texts."""
        return self.features.transform(texts)

    def save(self, folder: Path) -> None:
        """Write weights and features."""
        super().save(folder)
        self.features.save(folder)

    @classmethod
    def load(cls, folder: Path, spec: TfidfSpec, vocabulary: Vocabulary, device: str = "cpu") -> Self:  # type: ignore[override]
        """Open a saved classifier."""
        with stored(f"the features in {folder}"):
            features = ReviewFeatures.load(folder, spec, vocabulary.size)
        labeller, prior_K = open_network(folder, spec, len(features), device)
        return cls(labeller, features, prior_K)
