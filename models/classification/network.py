"""Classify by a neural network (`models/neural/labelling/`) that reads `<bos> text <eos>`.

The scores are the head's. With the loss "squared_error" the head answers a number f, such as stars, and the score of
the label with the number v is −(f − v)², so the answer is the nearest label. Such scores are not probabilities.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from ..atomic_files import save_tensors
from ..base import stored
from ..neural.device import require_device
from ..neural.labelling.labeller import Labeller, empty_network
from ..neural.labelling.rows import InputRows, Rows
from ..neural.weights_file import fill_network, network_tensors, prefixed, without_prefix
from .classifier import WEIGHTS, Classifier
from .network_options import number_of
from .spec import NetworkSpec
from .texts import framed

if TYPE_CHECKING:
    from ..tokens.vocabulary import Vocabulary


class NetworkClassifier(Classifier):
    """A neural classifier.

    Args:
        labeller: Network and device.
        entries: V.
        prior_K: Share of each label in training.
    """

    def __init__(self, labeller: Labeller, entries: int, prior_K: np.ndarray) -> None:
        super().__init__(labeller.spec, entries, prior_K)
        self.labeller = labeller
        self.probabilistic = labeller.spec.loss == "cross_entropy"

    def scores_of_texts(self, texts: Rows) -> np.ndarray:
        """Return the scores of the head, or how near its number is to each label (N, K)."""
        scores = self.labeller.scores(self.inputs(texts)).astype(np.float64)
        return -np.square(scores - label_numbers(self.spec)) if self.spec.numbers else scores

    def inputs(self, texts: Rows) -> InputRows:
        """Return what the network reads of texts without special tokens."""
        return framed(texts)

    def save(self, folder: Path) -> None:
        """Write all weights."""
        tensors = prefixed("network", network_tensors(self.labeller.network))
        save_tensors(save_file, {**tensors, "prior": torch.from_numpy(self.prior_K)}, folder / WEIGHTS)

    @classmethod
    def load(cls, folder: Path, spec: NetworkSpec, vocabulary: Vocabulary, device: str = "cpu") -> Self:
        """Open a saved classifier."""
        labeller, prior_K = open_network(folder, spec, vocabulary.size, device)
        return cls(labeller, vocabulary.size, prior_K)


def label_numbers(spec: NetworkSpec) -> np.ndarray:
    """Return the number of each label (K), for the loss "squared_error"."""
    return np.array([number_of(label) for label in spec.labels])


def open_network(folder: Path, spec: NetworkSpec, entries: int, device: str) -> tuple[Labeller, np.ndarray]:
    """Open the weights of a spec; return the model and the share of each label in training."""
    require_device(device)
    with stored(f"the weights in {folder}"):
        tensors = load_file(folder / WEIGHTS)
        network = empty_network(spec, entries)
        fill_network(network, without_prefix("network", tensors))
        prior_K = tensors["prior"].numpy()
        if prior_K.shape != (len(spec.labels),):
            raise ValueError(f"there are shares of {prior_K.size} labels, not of {len(spec.labels)}")
        return Labeller(spec, network.to(device)), prior_K
