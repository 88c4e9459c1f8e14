"""Penalise the outputs of the last recurrent layer: activation regularisation (AR, TAR).

Merity, McCann & Socher 2017, "Revisiting activation regularization for language RNNs", equations 1 and 2, with the mean
square instead of the norm, as in their program.

    AR  = α mean(m ⊙ h_t)²                       outputs after dropout, so that they stay small
    TAR = β mean(h_t − h_{t+1})²                 outputs before dropout, so that they change slowly

The means are over all streams, positions and units. The penalties are part of the training objective, not of the
reported figures.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.base import ModelError
from models.neural.training_spec import TrainingSpec
from training.neural.tbptt import Activations


def activation_penalty(training: TrainingSpec, activations: Activations | None) -> Tensor:
    """Return α mean(h²) + β mean((h_t − h_{t+1})²), a scalar; for a single position the second term is 0.

    Raises:
        ModelError: kind "input": the network has no recurrent layer.
    """
    if activations is None:
        raise ModelError(
            "training.activation_penalty and training.temporal_penalty need a recurrent network: this one has no "
            "recurrent layer. Set both to 0",
            "input",
        )
    dropped_BTH, raw_BTH = activations
    penalty = training.activation_penalty * _wide(dropped_BTH).square().mean()
    if raw_BTH.shape[1] > 1 and training.temporal_penalty:
        penalty = penalty + training.temporal_penalty * _wide(raw_BTH).diff(dim=1).square().mean()
    return penalty


def _wide(h_BTH: Tensor) -> Tensor:
    """Return the same in float32 at least."""
    return h_BTH.to(torch.promote_types(h_BTH.dtype, torch.float32))
