"""Score and label sequences with the network of a classifier or tagger; save and open its weights.

Shapes: see `rows.py`; N = D sequences or P positions.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from ...atomic_files import save_tensors
from ...base import translate_read_errors
from ..device import require_device, to_device
from ..network import fill_network, network_tensors
from ..spec import WEIGHTS
from .network import LabellingNetwork, empty_network
from .rows import PaddedBatch, Sequences
from .spec import LabellingOptions

if TYPE_CHECKING:
    from ...tokens.vocabulary import Vocabulary

POSITIONS = 16_384
"""Padded positions that are read at a time in evaluation; does not change an answer beyond rounding."""


class Labeller:
    """A network that labels sequences (classifier) or their positions (tagger).

    Args:
        spec: The options the network was built from.
        network: On its device; put into evaluation mode here.
    """

    def __init__(self, spec: LabellingOptions, network: LabellingNetwork) -> None:
        self.spec = spec
        self.network = network.eval()
        self.entries = network.entries

    @torch.no_grad()
    def scores(self, sequences: Sequences) -> np.ndarray:
        """Return the scores (N, K; float32) of each sequence or, for tagging, each position.

        Raises:
            ModelError: kind "input": see `Sequences.require`.
        """
        sequences.require(self.entries)
        tagging = self.spec.task == "tagging"
        if tagging:
            count = len(sequences.ids_P)
        else:
            count = len(sequences)

        scores_NK = np.zeros((count, len(self.spec.labels)), np.float32)
        for batch in sequences.by_length(POSITIONS):
            features_MF = self.network(*input_tensors(batch, self.network.device))
            if tagging:
                where = sequences.positions(batch.rows_B)
            else:
                where = batch.rows_B

            scores_NK[where] = self.network.head(features_MF).float().cpu().numpy()
        return scores_NK

    def answers(self, sequences: Sequences) -> np.ndarray:
        """Return the label (int64; `spec.labels` names it) of each sequence or position; of equal scores the first."""
        return self.scores(sequences).argmax(1)

    def save(self, folder: Path) -> None:
        """Write all weights."""
        save_tensors(save_file, network_tensors(self.network), folder / WEIGHTS)

    @classmethod
    def load(
        cls,
        folder: Path,
        spec: LabellingOptions,
        vocabulary: Vocabulary,
        device: str = "cpu",
    ) -> Self:
        """Open the network that `save` wrote.

        Raises:
            ModelError: kind "bundle": the file is missing or damaged, or does not fit; "input": no such device.
        """
        require_device(device)
        with translate_read_errors(f"the weights in {folder}"):
            network = empty_network(spec, vocabulary.size)
            fill_network(network, load_file(folder / WEIGHTS))
        return cls(spec, network.to(device))


def input_tensors(batch: PaddedBatch, device: torch.device) -> list[torch.Tensor]:
    """Return the arguments of the network for a batch."""
    return [to_device(torch.from_numpy(array), device) for array in (batch.ids_BT, batch.lengths_B)]
