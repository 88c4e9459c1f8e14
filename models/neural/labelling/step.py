"""Make one update of a classifier or tagger: the gradient of the mean loss over all targets of a batch."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...base import ModelError
from ..optimization.clipping import scale_and_clip
from .labeller import input_tensors
from .network import LabellingNetwork
from .rows import FeatureBatch, LabelledBatch
from .spec import LabellerSpec


class Update(NamedTuple):
    """The figures of an update: sum of the losses, number of targets, norm of the gradient before clipping."""

    loss: float
    targets: int
    norm: float


def update_once(
    network: LabellingNetwork, optimizer: torch.optim.Optimizer, batch: LabelledBatch | FeatureBatch,
    targets: np.ndarray, spec: LabellerSpec, update: int,
) -> Update:  # fmt: skip
    """Take one step along the mean gradient over all targets; a batch without targets takes none.

    Args:
        network: In training mode.
        optimizer: With the rate of this update.
        batch: Sequences.
        targets: The result of `LabelledSequences.of_rows` for them.
        spec: The network's.
        update: Its number, from 0.

    Raises:
        ModelError: kind "diverged": loss or gradient is not finite; the weights are as before.
    """
    features_NF, targets_N = asked_features(network, batch, targets, spec)
    if not len(targets_N):
        return Update(0.0, 0, 0.0)
    optimizer.zero_grad(set_to_none=True)
    loss = network.head.loss(network.head(features_NF), targets_N).sum()
    loss.backward()
    training, total = spec.training, float(loss.detach())
    norm = scale_and_clip(network.parameters(), 1 / len(targets_N), training.clip, training.clip_value).norm
    if not (math.isfinite(norm) and math.isfinite(total)):
        mean = total / len(targets_N)
        what = f"loss {mean:.4g}, gradient norm {norm:.4g} at update {update + 1}; try a smaller training.learning_rate"
        raise ModelError(what, "diverged")
    optimizer.step()
    return Update(total, len(targets_N), norm)


def asked_features(
    network: LabellingNetwork, batch: LabelledBatch | FeatureBatch, targets: np.ndarray, spec: LabellerSpec
) -> tuple[Tensor, Tensor]:
    """Return the features that have a target, and the targets (float for numbers, int64 for labels)."""
    features_NF = network(*input_tensors(batch, network.device))
    if spec.numbers:
        return features_NF, torch.from_numpy(targets.astype(np.float64)).to(features_NF)
    targets_N = torch.from_numpy(targets.astype(np.int64)).to(network.device)
    asked_N = targets_N >= 0
    return features_NF[asked_N], targets_N[asked_N]
