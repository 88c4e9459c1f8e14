"""Build the network of a classifier or tagger: a trunk (`trunks/`), dropout and a head (`heads.py`).

Shapes: N = sequences, or for tagging positions of all of them; F = features of the trunk.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from .. import network
from ..layers.dropout import Dropout
from .heads import make_head
from .spec import LabellerSpec
from .trunks.build import make_trunk


class LabellingNetwork(nn.Module):
    """Trunk and head.

    In evaluation mode there is no dropout and all is float32, so that an answer does not depend on the batch.

    Args:
        spec: Task, architecture and loss.
        entries: V of the vocabulary, or the number of features.
        targets_N: Targets in training, for the head's first bias.

    Attributes:
        trunk: See `trunks/trunk.py`.
        head: See `heads.py`.
    """

    def __init__(self, spec: LabellerSpec, entries: int, targets_N: np.ndarray) -> None:
        super().__init__()
        self.precision = spec.training.precision
        self.trunk = make_trunk(spec, entries)
        self.dropout = Dropout(spec.dropout)
        self.head = make_head(spec, self.trunk.features, targets_N)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.head.linear.weight.device

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the features that enter the head (N, F) of a batch; see `Trunk.forward`."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._in_bf16()):
            features_NF = self.trunk(*inputs)
        dropped_NF: Tensor = self.dropout(features_NF.to(self.head.linear.weight.dtype))
        return dropped_NF

    def groups(self) -> list[nn.Module]:
        """Return the parts of the network from the input to the answer, for fine-tuning.

        The last one is the head with all modules of the trunk that are new too, such as attention.
        """
        below = self.trunk.groups()
        earlier = {id(parameter) for part in below for parameter in part.parameters()}
        new = [part for part in self.trunk.children() if not earlier.issuperset(map(id, part.parameters()))]
        return [*below, nn.ModuleList([*new, self.head])]

    def _in_bf16(self) -> bool:
        trains = self.training and self.precision == "bf16"
        return trains and (self.head.linear.weight.is_cuda or network.bf16_on_processor())
