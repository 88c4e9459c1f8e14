"""Compute the cross-entropy of one softmax, and its gradient in the same pass.

With p = softmax(logits), d(−log p_y)/d logits = p − y (y one-hot). So the gradient overwrites the probabilities, and
no (N, C) matrix is kept for a backward pass. The other modules of this package build output layers from this one.

In bf16 every pass over the N times C logits reads and writes 2 bytes instead of 4. The product adds the bias, the
softmax uses its result (exponentials and sums are float32 inside), and p − y is an input of the next products without a
conversion. A logit then has 8 significant bits. The largest bias is subtracted from all logits. That changes no
probability and leaves these bits for the differences.

Shapes: N positions, E features, C entries of this softmax.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..device import to_device

LOGITS_BYTES = 1 << 30
"""Memory of the logits of one piece on a GPU: each piece launches kernels of its own, and a large one is no slower."""
TINY = 1e-30
"""Below this a probability is too close to the smallest float32 to take its logarithm."""
FEATURE_MULTIPLE = 32
"""The number of features of bf16 matrices is a multiple of this; see `in_format`."""
ENTRY_MULTIPLE = 64
"""On a GPU, the number of logits of a row in bf16 is a multiple of this; see `spare_entries`."""
MOST_SPARE = ENTRY_MULTIPLE - 1
training_softmax: Callable[[Tensor, Tensor], Tensor | None] | None = None
"""Kernel of the trainer: −log softmax of the classes (N,), with p − y over the logits; None where it has no kernel."""


class Gradients(NamedTuple):
    """−log p of each row (N) and the gradients of their sum with respect to features and the layer's parameters."""

    nats_N: Tensor
    features_NE: Tensor
    parameters: tuple[Tensor, ...]


def rows_at_once(
    chunk: int,
    entries: int,
    h_NE: Tensor,
) -> int:
    """Return how many rows to compute at a time: `chunk` on the processor, as many as `LOGITS_BYTES` hold on a GPU.

    Args:
        chunk: The option `objective.chunk`.
        entries: Numbers in memory for each row.
        h_NE: Features; gives the device and the number format.
    """
    if h_NE.is_cuda:
        return max(chunk, LOGITS_BYTES // (entries * h_NE.element_size()))
    return chunk


def spare_entries(
    entries: int,
    dtype: torch.dtype,
    device: torch.device,
) -> int:
    """Return how many rows without an entry the weight of a softmax gets, so that rows of logits are aligned on a GPU.

    Their probability is 0. The products of cuBLAS that use all of a matrix unit need rows that begin at multiples of 16
    bytes. For a head of 2,001 entries it took others, which made the whole update of a large network take 1.6 times as
    long (H100).

    Args:
        entries: Number of entries of the softmax.
        dtype: Number format of the products.
        device: On which they run.
    """
    if dtype == torch.bfloat16 and device.type == "cuda":
        return -entries % ENTRY_MULTIPLE
    return 0


def softmax_nats(logits_NC: Tensor, classes_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return −log softmax(logits)[n, classes[n]] (N, float32 at least) and the probabilities (N, C).

    Adding a constant to a row changes nothing ("+log C"): torch subtracts the row's maximum m before it takes
    exponentials. If p_y still underflows, −log p_y is computed as (m − logit_y) − log p_max, which stays finite. On a
    GPU that is computed for all rows: to find out where it is needed, the host would have to wait.
    """
    p_NC = torch.softmax(logits_NC, 1)
    dtype = torch.promote_types(p_NC.dtype, torch.float32)
    own_N = p_NC.gather(1, classes_N[:, None])[:, 0].to(dtype)
    nats_N = -own_N.log()
    if logits_NC.is_cuda:
        most_N, at_N = logits_NC.max(1)
        right_N = logits_NC.gather(1, classes_N[:, None])[:, 0]
        top_N = p_NC.gather(1, at_N[:, None])[:, 0]
        exact_N = (most_N.to(dtype) - right_N) - top_N.to(dtype).log()
        return torch.where(own_N < TINY, exact_N, nats_N), p_NC

    lost = (own_N < TINY).nonzero()[:, 0]
    if len(lost):
        lost_NC = logits_NC[lost].to(dtype)
        right_N = lost_NC.gather(1, classes_N[lost, None])[:, 0]
        nats_N[lost] = (lost_NC.amax(1) - right_N) - p_NC[lost].amax(1).to(dtype).log()

    return nats_N, p_NC


def level_nats(
    h_NE: Tensor,
    weight_CE: Tensor,
    bias_C: Tensor,
    classes_N: Tensor,
    chunk: int,
) -> Tensor:
    """Return −log p of one softmax (N), `rows_at_once` and without gradients; h_NE may be `with_spare_rows`."""
    targets = len(classes_N)
    rows = rows_at_once(chunk, len(weight_CE), h_NE)
    classes_N = _with_spare_targets(classes_N, h_NE)
    bias_C = _with_spare(bias_C, weight_CE)
    parts = []
    for i in range(0, len(h_NE), rows):
        logits_NC = _plus_bias(F.linear(h_NE[i : i + rows], weight_CE), bias_C)
        parts.append(softmax_nats(logits_NC, classes_N[i : i + rows])[0])
        del logits_NC  # the largest tensor: not in memory beside the next one

    if parts:
        return torch.cat(parts)[:targets]
    return bias_C.new_empty(0)


def level_gradients(
    h_NE: Tensor,
    weight_CE: Tensor,
    bias_C: Tensor,
    classes_N: Tensor,
    chunk: int,
    grad_CE: Tensor,
) -> Gradients:
    """Return the cross-entropy of one softmax and the gradient of its sum, some rows at a time.

    Args:
        h_NE: Features, may be `with_spare_rows`, whose gradients are 0; the matrix products run in their dtype.
        weight_CE: Rows of the level's entries, same dtype; after them there may be `spare_entries`.
        bias_C: float32 or float64; −inf for entries that must have probability 0.
        classes_N: Index of the target entry of each row, in [0, C).
        chunk: Rows whose logits are in memory at a time; see `rows_at_once`.
        grad_CE: The gradient of the weight is written here (the bias's dtype), without columns for the zero features
            that `in_format` may have added.
    """
    entries, features = grad_CE.shape
    targets = len(classes_N)
    classes_N = _with_spare_targets(classes_N, h_NE)
    bias_C = _with_spare(bias_C, weight_CE)
    rows = rows_at_once(chunk, len(weight_CE), h_NE)
    nats_N = bias_C.new_empty(len(h_NE))
    grad_h_NE = torch.empty_like(h_NE)
    grad_b_C = torch.zeros_like(bias_C)
    low_C = bias_C
    if h_NE.dtype == torch.bfloat16:
        low_C = (bias_C - bias_C.max()).to(h_NE.dtype)

    for i in range(0, len(h_NE), rows):
        part_NE = h_NE[i : i + rows]
        right_N1 = classes_N[i : i + rows, None]
        nats_N[i : i + rows], delta_NC = _nats_and_gradient(
            F.linear(part_NE, weight_CE, low_C), right_N1
        )
        delta_NC[max(0, targets - i) :] = 0
        grad_b_C += delta_NC.sum(0)
        torch.mm(delta_NC, weight_CE, out=grad_h_NE[i : i + rows])
        if h_NE.dtype == grad_CE.dtype:
            grad_CE.addmm_(delta_NC.t(), part_NE, beta=int(i > 0))
        elif i == 0:  # instead of adding to zeros: saves three passes over all weights
            grad_CE.copy_(torch.mm(delta_NC.t(), part_NE)[:entries, :features])
        else:
            grad_CE += torch.mm(delta_NC.t(), part_NE)[:entries, :features]

    if not len(h_NE):
        grad_CE.zero_()

    return Gradients(nats_N[:targets], grad_h_NE, (grad_CE, grad_b_C[:entries]))


def _plus_bias(logits_NC: Tensor, bias_C: Tensor) -> Tensor:
    """Return logits plus bias, in place unless the sum has another number format: the logits are the largest tensor."""
    if logits_NC.dtype == bias_C.dtype:
        return logits_NC.add_(bias_C)
    return logits_NC + bias_C


def _nats_and_gradient(logits_NC: Tensor, right_N1: Tensor) -> tuple[Tensor, Tensor]:
    """Return −log softmax(logits) of the right entries (N) and p − y (N, C), which may overwrite the logits."""
    if training_softmax and (nats_N := training_softmax(logits_NC, right_N1[:, 0])) is not None:
        return nats_N, logits_NC
    nats_N, delta_NC = softmax_nats(logits_NC, right_N1[:, 0])
    # scatter_add_ in bf16 is a slow pass
    delta_NC.scatter_(1, right_N1, delta_NC.gather(1, right_N1) - 1)
    return nats_N, delta_NC


def _with_spare_targets(classes_N: Tensor, h_NE: Tensor) -> Tensor:
    """Return the target classes on the features' device, with any class for each spare row."""
    spare = len(h_NE) - len(classes_N)
    classes_N = to_device(classes_N, h_NE.device)
    if spare:
        return F.pad(classes_N, (0, spare))
    return classes_N


def _with_spare(bias_C: Tensor, weight_CE: Tensor) -> Tensor:
    """Return the bias with −inf for each spare row of the weight."""
    spare = len(weight_CE) - len(bias_C)
    if spare:
        return F.pad(bias_C, (0, spare), value=-torch.inf)
    return bias_C


def in_format(
    matrix_RE: Tensor,
    dtype: torch.dtype,
    spare: int = 0,
) -> Tensor:
    """Return a matrix in the number format of the products; in bf16 padded with zero features to a multiple of 32.

    These features change no product. Rows that begin at multiples of 64 bytes make products up to a quarter faster
    (with 650 features).

    Args:
        matrix_RE: Features, or rows of weights.
        dtype: Number format of the products.
        spare: Number of zero rows to add at the end; only in bf16, see `spare_entries`.
    """
    rows, features = matrix_RE.shape
    missing = -features % FEATURE_MULTIPLE
    if dtype != torch.bfloat16 or not (missing or spare):
        return matrix_RE.to(dtype)
    padded = matrix_RE.new_empty(rows + spare, features + missing, dtype=dtype)
    padded[:rows, :features] = matrix_RE
    padded[:rows, features:] = 0
    padded[rows:] = 0
    return padded
