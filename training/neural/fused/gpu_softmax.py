"""Compute −log softmax and its gradient with respect to the logits on a GPU, in one pass over them.

torch takes six passes: the maximum, the softmax, and what `cross_entropy.py` does to its result. A program computes one
row in float32. This module needs Triton, which comes with the CUDA builds of torch, to be imported.

Shapes: N positions, C entries of a softmax.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

MOST_ENTRIES = 1 << 16
"""A row is held in the registers of one program."""


def nats_and_gradient(logits_NC: Tensor, classes_N: Tensor) -> Tensor:
    """Return −log softmax(logits)[n, classes[n]] (N, float32); p − y, its gradient, overwrites the logits.

    Args:
        logits_NC: With contiguous rows, at most `MOST_ENTRIES` long; −inf for entries of probability 0.
        classes_N: In [0, C); no entry of probability 0.
    """
    (rows, entries), nats_N = (
        logits_NC.shape,
        logits_NC.new_empty(len(logits_NC), dtype=torch.float32),
    )
    block = triton.next_power_of_2(entries)
    if rows:
        warps = min(max(block // 1024, 1), 32)
        with torch.cuda.device(logits_NC.device):  # Triton launches on the current device
            _row[(rows,)](
                logits_NC,
                classes_N,
                nats_N,
                entries,
                logits_NC.stride(0),
                BLOCK=block,
                num_warps=warps,
            )

    return nats_N


@triton.jit
def _row(
    logits: tl.tensor,
    classes: tl.tensor,
    nats: tl.tensor,
    entries: tl.tensor,
    stride: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    n = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, BLOCK)
    row = logits + n * stride + c
    inside = c < entries
    label = tl.load(classes + n)
    x = tl.load(row, inside, other=-float("inf")).to(tl.float32)
    own_x = tl.sum(tl.where(c == label, x, 0.0), 0)
    most = tl.max(x, 0)
    exponentials = tl.exp(x - most)
    total = tl.sum(exponentials, 0)
    tl.store(nats + n, tl.log(total) + most - own_x)
    p = exponentials / total
    tl.store(row, tl.where(c == label, p - 1, p).to(logits.dtype.element_ty), inside)
