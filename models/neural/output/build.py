"""From options and word counts to an output layer."""

from __future__ import annotations

import logging

import numpy as np
import torch
from torch import Tensor, nn

from ...base import ModelError
from ...specs import ObjectiveSpec
from .adaptive import TwoLevelOutput
from .base import GIVEN, OutputLayer
from .single import SoftmaxOutput

log = logging.getLogger(__name__)


def build_output(
    objective: ObjectiveSpec, weight: nn.Parameter, unigram_counts_V: np.ndarray | Tensor
) -> OutputLayer:
    """Make the output layer of a neural model; equal arguments give equal shapes, whatever the counts.

    Args:
        objective: Kind of output, size of the head, rows per chunk.
        weight: (V, E); may be the embedding's own weight (tied).
        unigram_counts_V: How often each entry is predicted in the training stream. The bias starts at the logarithm
            of these frequencies (0.5 added to each count), so that training starts from the unigram model.

    Raises:
        ModelError: The counts are not one per row of the weight.
    """
    counts_V = torch.as_tensor(np.asarray(unigram_counts_V), dtype=torch.float64)
    if counts_V.shape != weight.shape[:1]:
        raise ModelError(f"{tuple(counts_V.shape)} unigram counts for {weight.shape[0]} output rows", "input")
    predicted = torch.tensor([i for i in range(len(counts_V)) if i not in GIVEN])
    share_V = (counts_V + 0.5) / (counts_V[predicted] + 0.5).sum()
    bias_V = share_V.log().to(weight)
    tail = len(predicted) - objective.head
    if objective.output == "softmax":
        return SoftmaxOutput(weight, bias_V, objective.chunk)
    if tail < max(2, objective.head // 4):
        log.info("two-level softmax: %d entries leave a tail of %d beside a head of %d; one softmax is used instead",
                 len(counts_V), max(0, tail), objective.head)
        return SoftmaxOutput(weight, bias_V, objective.chunk)
    order_P = predicted[torch.argsort(counts_V[predicted], descending=True, stable=True)].to(weight.device)
    return TwoLevelOutput(weight, bias_V, order_P, objective.head, objective.chunk)
