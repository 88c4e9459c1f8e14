"""Make one update of a classifier or tagger: the gradient of the mean loss over all targets of a batch."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..optimization.clipping import scale_and_clip
from ..training.step import Divergence
from .labelled_sequences import LabelledSequences
from .labeller import input_tensors
from .network import LabellingNetwork
from .rows import FeatureBatch, LabelledBatch
from .spec import LabellerSpec
from .state import LabellerState


class Sums(NamedTuple):
    """Sum of the losses of a batch, number of its targets and of the tokens or features read."""

    loss: float
    targets: int
    tokens: int


def update_once(state: LabellerState, examples: LabelledSequences, rows_B: np.ndarray) -> float:
    """Take one step along the mean gradient over all targets of some sequences; without targets take none.

    Args:
        state: Its optimiser has the rate of this update.
        examples: Training examples.
        rows_B: Numbers of the sequences.

    Returns:
        The norm of the gradient before clipping.

    Raises:
        Divergence: Loss or gradient is not finite; the weights are as before.
    """
    network, training = state.network.train(), state.training
    state.rates.optimizer.zero_grad(set_to_none=True)
    sums = add_gradients(network, examples, rows_B, state.spec)
    norm = 0.0
    if sums.targets:
        norm = scale_and_clip(network.parameters(), 1 / sums.targets, training.clip, training.clip_value).norm
        if not (math.isfinite(norm) and math.isfinite(sums.loss)):
            mean, update = sums.loss / sums.targets, state.metrics.updates + 1
            raise Divergence(f"loss {mean:.4g}, gradient norm {norm:.4g} at update {update}")
        state.rates.optimizer.step()
        if state.average is not None:
            state.average.update()
    state.metrics.count(*sums)
    return norm


def add_gradients(
    network: LabellingNetwork, examples: LabelledSequences, rows_B: np.ndarray, spec: LabellerSpec
) -> Sums:
    """Add the gradient of the summed loss of some sequences to that of the parameters."""
    batch, targets = examples.sequences.batch(rows_B), examples.of_rows(spec, rows_B)
    features_NF, targets_N = asked_features(network, batch, targets, spec)
    if not len(targets_N):
        return Sums(0.0, 0, batch.size())
    loss = network.head.loss(network.head(features_NF), targets_N).sum()
    loss.backward()
    return Sums(float(loss.detach()), len(targets_N), batch.size())


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
