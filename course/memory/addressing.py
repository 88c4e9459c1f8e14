"""Read and write a memory matrix: content-based addressing, and writing to the slot used least recently.

Graves, Wayne & Danihelka 2014, "Neural Turing Machines", equations 1 to 6; Santoro et al. 2016, "Meta-learning with
memory-augmented neural networks", equations 5 to 8. Every operation is differentiable in what is written and read, so
a network learns by back-propagation what to store and what to look for.

Shapes: B streams, S slots, W numbers in a slot, A ≤ W numbers that are compared.
"""

from __future__ import annotations

import torch
from torch import Tensor

SMALL = 1e-6
"""Added to squared norms, so that an empty slot has the similarity 0 and a finite gradient."""
USAGE_DECAY = 0.99
"""γ of equation 5: after 69 steps a use counts half."""


def cosine_similarity(key_BA: Tensor, rows_BSA: Tensor) -> Tensor:
    """Return K[u, v] = u·v / (‖u‖ ‖v‖) of the key and each row (B, S); Graves et al., equation 6."""
    norms_BS = (rows_BSA.square().sum(-1) + SMALL).sqrt() * (key_BA.square().sum(-1, keepdim=True) + SMALL).sqrt()
    return (rows_BSA @ key_BA[..., None]).squeeze(-1) / norms_BS


def content_weights(key_BA: Tensor, sharpness_B1: Tensor, rows_BSA: Tensor) -> Tensor:
    """Return w(i) = exp(β K[k, M(i)]) / Σ_j exp(β K[k, M(j)]) (B, S); Graves et al., equation 5.

    The weights are 0 or more and sum to 1 (equation 1).

    Args:
        key_BA: k, what to look for.
        sharpness_B1: β: at 0 all slots get the same weight, the larger it is the more the most similar slot gets.
        rows_BSA: The part of the memory that is compared.
    """
    return torch.softmax(sharpness_B1 * cosine_similarity(key_BA, rows_BSA), -1)


def read(weights_BS: Tensor, memory_BSW: Tensor) -> Tensor:
    """Return r = Σ_i w(i) M(i) (B, W); Graves et al., equation 2."""
    return (weights_BS[:, None] @ memory_BSW).squeeze(1)


def write(memory_BSW: Tensor, weights_BS: Tensor, erase_BW: Tensor, add_BW: Tensor) -> Tensor:
    """Return M_t(i) = M_{t−1}(i) ∘ [1 − w(i) e] + w(i) a (B, S, W); Graves et al., equations 3 and 4.

    Args:
        memory_BSW: M_{t−1}.
        weights_BS: w, where to write.
        erase_BW: e, from 0 (keep) to 1 (erase).
        add_BW: a.
    """
    w_BS1 = weights_BS[..., None]
    return memory_BSW * (1 - w_BS1 * erase_BW[:, None]) + w_BS1 * add_BW[:, None]


def least_used(usage_BS: Tensor) -> Tensor:
    """Return 1 for the slot with the smallest usage and 0 for the others (B, S); Santoro et al., equation 6 for n = 1.

    Of equal ones the first is taken. There is no gradient: where to write is not learned.
    """
    return torch.nn.functional.one_hot(usage_BS.argmin(1), usage_BS.shape[1]).to(usage_BS.dtype)


def updated_usage(usage_BS: Tensor, read_BS: Tensor, written_BS: Tensor) -> Tensor:
    """Return u_t = γ u_{t−1} + w^read + w^write (B, S), without a gradient; Santoro et al., equation 5."""
    return (USAGE_DECAY * usage_BS + read_BS + written_BS).detach()
