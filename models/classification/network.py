"""Classify by a recurrent network (`models/neural/labelling/`) that reads `<bos> text <eos>`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from ..neural.labelling.labeller import Labeller
from ..neural.labelling.rows import Rows
from .classifier import Classifier, frame_texts
from .spec import RecurrentClassifierSpec

if TYPE_CHECKING:
    from ..tokens.vocabulary import Vocabulary


class NetworkClassifier(Classifier):
    """A neural classifier.

    Args:
        labeller: Network and device.
    """

    def __init__(self, labeller: Labeller) -> None:
        super().__init__(labeller.spec, labeller.entries, labeller.network.share_K.cpu().numpy())
        self.labeller = labeller

    def scores_of_texts(self, texts: Rows) -> np.ndarray:
        """Return the scores of the head (N, K)."""
        return self.labeller.scores(frame_texts(texts)).astype(np.float64)

    def save(self, folder: Path) -> None:
        """Write all weights."""
        self.labeller.save(folder)

    @classmethod
    def load(
        cls,
        folder: Path,
        spec: RecurrentClassifierSpec,
        vocabulary: Vocabulary,
        device: str = "cpu",
    ) -> Self:
        """Open a saved classifier."""
        return cls(Labeller.load(folder, spec, vocabulary, device))
