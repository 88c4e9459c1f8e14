"""Build an output layer from options and word counts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from ...base import ModelError
from ...tokens.special import EOS, UNK
from ..spec import ObjectiveSpec
from .adaptive import AdaptiveOutput
from .base import CONTEXT_IDS, OutputLayer, SoftmaxOutput
from .hierarchical import HierarchicalOutput

log = logging.getLogger(__name__)


def build_output(
    objective: ObjectiveSpec,
    weight: nn.Parameter,
    unigram_counts_V: np.ndarray | Tensor,
    tied: bool = True,
) -> OutputLayer:
    """Build the output layer of a neural model; equal arguments give equal shapes for any counts.

    Args:
        objective: Kind of output, its options, rows per chunk.
        weight: (V, E); may be the embedding's own weight (tied).
        unigram_counts_V: How often each entry is predicted in the training stream. The bias starts at the logarithm
            of these frequencies (0.5 added to each count), so that training starts from the unigram model.
        tied: The weight is also used by another layer, so it stays whole. Otherwise an adaptive softmax that shrinks
            keeps only the head's rows; its tails have their own rows.

    Raises:
        ModelError: The counts are not one per row of the weight, or too few for a tree.
    """
    counts_V = torch.as_tensor(np.asarray(unigram_counts_V), dtype=torch.float64)
    if counts_V.shape != weight.shape[:1]:
        raise ModelError(
            f"{tuple(counts_V.shape)} unigram counts for {weight.shape[0]} output rows", "input"
        )
    if objective.output == "hierarchical":
        return HierarchicalOutput(weight, counts_V, objective.chunk)

    predicted = torch.tensor([i for i in range(len(counts_V)) if i not in CONTEXT_IDS])
    share_V = (counts_V + 0.5) / (counts_V[predicted] + 0.5).sum()
    bias_V = share_V.log().to(weight)
    if objective.output == "softmax" or not _has_tail(objective, len(counts_V), len(predicted)):
        return SoftmaxOutput(weight, bias_V, objective.chunk)

    cuts = _cuts(objective, len(predicted))
    order_P = _order(predicted, counts_V, cuts).to(weight.device)
    head_only = objective.shrink > 1 and not tied
    if head_only:
        weight = nn.Parameter(weight.detach()[order_P[: objective.head]].clone())

    return AdaptiveOutput(
        weight,
        bias_V,
        order_P,
        cuts,
        objective.shrink,
        head_only,
        objective.chunk,
    )


def _order(
    predicted: Tensor,
    counts_V: Tensor,
    cuts: Sequence[int],
) -> Tensor:
    """Return the predicted ids, most frequent first; within a tail they are sorted by id.

    The order within a tail has no meaning. If ids are already sorted by frequency, a tail is then a slice of rows,
    which needs no copy. `<unk>` and `<eos>`, whose ids come before all others, are always in the head, however rare
    they are.
    """
    rank = counts_V[predicted].clone()
    rank[[index for index, token in enumerate(predicted.tolist()) if token in (UNK, EOS)]] = (
        torch.inf
    )
    order_P = predicted[torch.argsort(rank, descending=True, stable=True)]
    for low, high in pairwise(cuts):
        order_P[low:high] = order_P[low:high].sort().values
    return order_P


def _has_tail(
    objective: ObjectiveSpec,
    entries: int,
    predicted: int,
) -> bool:
    """Return whether a second level is worth its cost; log it if not."""
    tail = predicted - objective.head
    if tail >= max(2, objective.head // 4):
        return True

    log.debug(
        "adaptive softmax: %d entries leave a tail of %d beside a head of %d; one softmax is used instead",
        entries,
        max(0, tail),
        objective.head,
    )
    return False


def _cuts(objective: ObjectiveSpec, predicted: int) -> Sequence[int]:
    """Return the ranks where the tails begin, and the end; cutoffs beyond the vocabulary are dropped and logged."""
    beyond = [cut for cut in objective.cutoffs if cut >= predicted]
    if beyond:
        log.debug(
            "adaptive softmax: %d entries are predicted; cutoffs %s are left out", predicted, beyond
        )
    return (objective.head, *[cut for cut in objective.cutoffs if cut < predicted], predicted)
