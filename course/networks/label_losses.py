"""Compute losses of labels, rankings and numbers: one value per example, none below 0, with the gradient of autograd.

s are the scores of one example, y its true label, K the number of labels, σ = ±1 a binary label, f a single score.

    cross-entropy    −log softmax(s)_y
    hinge, binary    max(0, 1 − σ f)                         Cortes & Vapnik 1995, "Support-vector networks"
    hinge            max(0, 1 + max_{k≠y} s_k − s_y)         Crammer & Singer 2001, "On the algorithmic implementation
                                                             of multiclass kernel-based vector machines"
    hinge_sum        Σ_{k≠y} max(0, 1 + s_k − s_y)           Weston & Watkins 1999, "Support vector machines for
                                                             multi-class pattern recognition"
    ranking          max(0, 1 + f(corrupted) − f(real))      Collobert & Weston 2008, "A unified architecture for
                                                             natural language processing"
    squared error    (f − y)²
    0/1              1 if argmax s ≠ y, else 0

Course notes sometimes write the hinge, 0/1 and squared losses with a minus in front. That is an error: minimising
−max(0, 1 − σ f) would drive σ f to −∞ and make every answer wrong.

With the margin m = s_y − max_{k≠y} s_k, hinge = max(0, 1 − m). It is 0 where the true label leads by 1 or more;
hinge_sum is 0 in exactly the same cases, and 0/1 ≤ hinge ≤ hinge_sum ≤ (K − 1) hinge. For K = 2 both are the binary
loss of f = s_1 − s_0. `torch.nn.MultiMarginLoss` is hinge_sum / K. A wrong answer costs −log softmax(s)_y ≥ log 2, so
0/1 ≤ cross-entropy / log 2.

The 0/1 loss is piecewise constant: its gradient is 0 wherever it exists, so it is reported and not used for training.
At a kink the gradient is one of the subgradients: 0 where the margin is exactly 1, and the first one's among equal
rivals.

Shapes: N examples, K labels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from reviewlm.models.base import ModelError

MARGIN = 1.0
"""Required lead of the true label's score. Another value is the same as another scale of the scores."""


def cross_entropy(scores_NK: Tensor, labels_N: Tensor) -> Tensor:
    """Return −log softmax(s)_y of each example (N).

    Args:
        scores_NK: Logits.
        labels_N: int64, in [0, K).

    Raises:
        ModelError: kind "input": shapes do not agree, K < 2 or a label is out of range.
    """
    _require_labels(scores_NK, labels_N)
    return F.cross_entropy(scores_NK, labels_N, reduction="none")


def hinge(scores_NK: Tensor, labels_N: Tensor) -> Tensor:
    """Return max(0, 1 + max_{k≠y} s_k − s_y) of each example (N); arguments and errors as in `cross_entropy`."""
    return (MARGIN - margins(scores_NK, labels_N)).clamp_min(0)


def hinge_sum(scores_NK: Tensor, labels_N: Tensor) -> Tensor:
    """Return Σ_{k≠y} max(0, 1 + s_k − s_y) of each example (N); arguments and errors as in `cross_entropy`."""
    _require_labels(scores_NK, labels_N)
    short_NK = (MARGIN + scores_NK - scores_NK.gather(1, labels_N[:, None])).clamp_min(0)
    return short_NK.masked_fill(_right(scores_NK, labels_N), 0.0).sum(1)


def ranking(real_N: Tensor, corrupted_N: Tensor) -> Tensor:
    """Return max(0, 1 + f(corrupted) − f(real)) of each pair (N).

    Args:
        real_N: Scores that must be higher by 1 or more.
        corrupted_N: Scores of the corrupted versions of the real examples.

    Raises:
        ModelError: kind "input": shapes do not agree.
    """
    _require_same(real_N, corrupted_N, "corrupted scores")
    return (MARGIN + corrupted_N - real_N).clamp_min(0)


def squared_error(numbers_N: Tensor, targets_N: Tensor) -> Tensor:
    """Return (f − y)² of each example (N).

    Raises:
        ModelError: kind "input": shapes do not agree (torch would silently broadcast them).
    """
    _require_same(numbers_N, targets_N, "targets")
    return (numbers_N - targets_N.to(numbers_N.dtype)).square()


def zero_one(scores_NK: Tensor, labels_N: Tensor) -> Tensor:
    """Return 1.0 where argmax s is not the label, else 0.0 (N, no gradient); its mean is the error rate.

    Of equal scores the first counts as the answer. Errors as in `cross_entropy`.
    """
    _require_labels(scores_NK, labels_N)
    return (scores_NK.detach().argmax(1) != labels_N).to(scores_NK.dtype)


def margins(scores_NK: Tensor, labels_N: Tensor) -> Tensor:
    """Return s_y − max_{k≠y} s_k of each example (N): below 0 where the answer is wrong. Errors as in `hinge`."""
    _require_labels(scores_NK, labels_N)
    rivals_N = scores_NK.masked_fill(_right(scores_NK, labels_N), -torch.inf).max(1).values
    return scores_NK.gather(1, labels_N[:, None])[:, 0] - rivals_N


def _right(scores_NK: Tensor, labels_N: Tensor) -> Tensor:
    return labels_N[:, None] == torch.arange(scores_NK.shape[1], device=labels_N.device)


def _require_labels(scores_NK: Tensor, labels_N: Tensor) -> None:
    if scores_NK.ndim != 2 or scores_NK.shape[1] < 2:
        raise ModelError(
            f"scores are {tuple(scores_NK.shape)}; examples × 2 or more labels are needed", "input"
        )
    if labels_N.shape != scores_NK.shape[:1] or labels_N.dtype != torch.int64:
        labels = f"{tuple(labels_N.shape)} of {labels_N.dtype}"
        raise ModelError(
            f"labels are {labels}; one int64 for each of {len(scores_NK)} examples is needed",
            "input",
        )
    if labels_N.is_cuda:
        return  # the host would wait for their values; `LabelledSequences.require` has read them before training
    if len(labels_N) and not 0 <= int(labels_N.min()) <= int(labels_N.max()) < scores_NK.shape[1]:
        labels = f"labels go from {int(labels_N.min())} to {int(labels_N.max())}"
        raise ModelError(f"{labels}; there are {scores_NK.shape[1]}, numbered from 0", "input")


def _require_same(
    scores_N: Tensor,
    others_N: Tensor,
    name: str,
) -> None:
    if scores_N.ndim != 1 or others_N.shape != scores_N.shape:
        shapes = f"scores are {tuple(scores_N.shape)}, {name} {tuple(others_N.shape)}"
        raise ModelError(f"{shapes}; both must be one number per example", "input")
