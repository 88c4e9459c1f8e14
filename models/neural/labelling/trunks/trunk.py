"""Define the interface of a trunk, and what several trunks share: fully connected layers, and lengths that fit.

Shapes: B sequences, T positions of the longest, N = B (or, for tagging, positions of all sequences), F features.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ....base import ModelError
from ...layers.dropout import Dropout


class Trunk(nn.Module):
    """Base class of all trunks.

    Attributes:
        entries: Number of different ids that it can read.
        features: F.
    """

    entries: int
    features: int

    @abstractmethod
    def forward(self, *inputs: Tensor) -> Tensor:
        """Return features_NF of a batch; *inputs* are those of `rows.LabelledBatch` or `rows.FeatureBatch`.

        Raises:
            ModelError: kind "input": no sequence, or not one length between 1 and T for each.
        """
        raise NotImplementedError

    def groups(self) -> Sequence[nn.Module]:
        """Return the parts from the input to the features, for fine-tuning; the head's part has what is in none."""
        return [self]


class FullyConnected(nn.Sequential):
    """Layers relu(W h + b) with dropout between them; none: the identity.

    Args:
        inputs: Size of the input.
        hidden: Units of each layer.
        dropout: Share of the outputs of each layer but the last dropped in training.
    """

    def __init__(self, inputs: int, hidden: Sequence[int], dropout: float) -> None:
        layers: list[nn.Module] = []
        for size, units in pairwise([inputs, *hidden]):
            layers += [nn.Linear(size, units), nn.ReLU(), Dropout(dropout)]
        super().__init__(*layers[:-1])


def inside(lengths_B: Tensor, positions: int) -> Tensor:
    """Return a mask (B, T), True for positions that are not padding."""
    return torch.arange(positions, device=lengths_B.device) < lengths_B[:, None]


def require_lengths(ids_BT: Tensor, lengths_B: Tensor) -> None:
    """Refuse a batch of no sequences, or lengths that are not between 1 and T.

    On a GPU the lengths are not read, because the host would wait for them; `Sequences.batch` makes no others.

    Raises:
        ModelError: kind "input".
    """
    if ids_BT.ndim != 2 or not ids_BT.numel():
        raise ModelError(f"ids are {tuple(ids_BT.shape)}; one row for each of 1 or more sequences is needed", "input")
    batch, positions = ids_BT.shape
    readable = not lengths_B.is_cuda
    if lengths_B.shape != (batch,) or (readable and (lengths_B.min() < 1 or lengths_B.max() > positions)):
        needed = f"{batch} of them are needed, each between 1 and {positions}"
        raise ModelError(f"lengths are {lengths_B.tolist()}; {needed}", "input")
