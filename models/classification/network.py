"""Classify by a recurrent network (`models/neural/labelling/`) that reads `<bos> text <eos>`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from ..atomic_files import save_tensors
from ..base import stored
from ..neural.device import require_device
from ..neural.labelling.labeller import Labeller
from ..neural.labelling.network import empty_network
from ..neural.labelling.rows import Rows
from ..neural.network import fill_network, network_tensors, prefixed, without_prefix
from .classifier import WEIGHTS, Classifier, framed
from .spec import RecurrentClassifierSpec

if TYPE_CHECKING:
    from ..tokens.vocabulary import Vocabulary


class NetworkClassifier(Classifier):
    """A neural classifier.

    Args:
        labeller: Network and device.
        prior_K: Share of each label in training.
    """

    def __init__(self, labeller: Labeller, prior_K: np.ndarray) -> None:
        super().__init__(labeller.spec, labeller.entries, prior_K)
        self.labeller = labeller

    def scores_of_texts(self, texts: Rows) -> np.ndarray:
        """Return the scores of the head (N, K)."""
        return self.labeller.scores(framed(texts)).astype(np.float64)

    def save(self, folder: Path) -> None:
        """Write all weights."""
        tensors = prefixed("network", network_tensors(self.labeller.network))
        save_tensors(save_file, {**tensors, "prior": torch.from_numpy(self.prior_K)}, folder / WEIGHTS)

    @classmethod
    def load(
        cls, folder: Path, spec: RecurrentClassifierSpec, vocabulary: Vocabulary, device: str = "cpu"
    ) -> Self:
        """Open a saved classifier."""
        require_device(device)
        with stored(f"the weights in {folder}"):
            tensors = load_file(folder / WEIGHTS)
            network = empty_network(spec, vocabulary.size)
            fill_network(network, without_prefix("network", tensors))
            prior_K = tensors["prior"].numpy()
            if prior_K.shape != (len(spec.labels),):
                raise ValueError(f"there are shares of {prior_K.size} labels, not of {len(spec.labels)}")
            return cls(Labeller(spec, network.to(device)), prior_K)
