"""Derive and compute back-propagation through time of the Elman language model by hand.

Rumelhart et al. 1986; Werbos 1990. The trainer does not use this module: torch's autograd computes the same gradients
for any cell (`tests/course/networks/test_bptt.py` shows that they are equal). The module is meant for reading, and
`min_char_rnn.py` trains with it. Plain NumPy, one sequence.

Forward, for t = 1 … T, with w_t the word read, y_t the next word, onehot(y) its indicator vector and J in nats:

    x_t = C[w_t]
    a_t = W x_t + U h_{t−1} + b
    h_t = tanh(a_t)
    z_t = V h_t + c
    p_t = softmax(z_t)
    J   = Σ_t −log p_t[y_t]

Backward. The word's loss comes first, where softmax and logarithm cancel: with ∂p_i/∂z_j = p_i (δ_ij − p_j),

    ∂J/∂z_t = p_t − onehot(y_t)                                                                       (1)

A hidden state affects J in two ways: through its own word, and through the next hidden state. So, from last t to first,

    ∂J/∂h_t = Vᵀ ∂J/∂z_t + Uᵀ ∂J/∂a_{t+1}              with ∂J/∂a_{T+1} = 0                            (2)
    ∂J/∂a_t = (1 − h_t²) ∘ ∂J/∂h_t                      since tanh' = 1 − tanh²                         (3)

Every parameter is shared by all steps, so its gradient is the sum over the steps:

    ∂J/∂V = Σ_t ∂J/∂z_t h_tᵀ         ∂J/∂c = Σ_t ∂J/∂z_t                                              (4)
    ∂J/∂W = Σ_t ∂J/∂a_t x_tᵀ         ∂J/∂U = Σ_t ∂J/∂a_t h_{t−1}ᵀ         ∂J/∂b = Σ_t ∂J/∂a_t          (5)
    ∂J/∂C[w] = Σ_{t: w_t = w} Wᵀ ∂J/∂a_t               only the rows of words that were read            (6)

Over ℓ steps, (2) and (3) multiply by ℓ matrices Uᵀ diag(1 − h²). If the largest singular value of each stays below
s < 1, an effect ℓ steps away falls at least like s to the ℓ; the gradient can explode only if it exceeds 1. An exact
gradient does not solve either problem; gates (`models/neural/layers/cells.py`) and clipping
(`training/neural/optimizers.py`) do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Elman:
    """The parameters of the model, or the gradient with respect to each; N words, E features, H hidden units.

    Args:
        C: Embedding (N, E).
        W: Input to hidden (H, E).
        U: Hidden to hidden (H, H).
        b: Hidden bias (H).
        V: Hidden to output (N, H).
        c: Output bias (N).
    """

    C: np.ndarray
    W: np.ndarray
    U: np.ndarray
    b: np.ndarray
    V: np.ndarray
    c: np.ndarray


@dataclass(frozen=True)
class BpttMemory:
    """The forward pass's values for the backward pass: h_0 … h_T as (T + 1, H), and p_1 … p_T as (T, N)."""

    h: np.ndarray
    p: np.ndarray


def softmax(z: np.ndarray) -> np.ndarray:
    """Return exp(z) / Σ exp(z); subtracting the largest logit first changes nothing and cannot overflow."""
    e = np.exp(z - z.max())
    return e / e.sum()


def softmax_jacobian(p: np.ndarray) -> np.ndarray:
    """Return ∂p_i/∂z_j = p_i (δ_ij − p_j), an (N, N) matrix."""
    return np.diag(p) - np.outer(p, p)


def cross_entropy_gradient(p: np.ndarray, y: int) -> np.ndarray:
    """Return ∂(−log p[y])/∂z = p − onehot(y), equation (1)."""
    gradient = p.copy()
    gradient[y] -= 1
    return gradient


def step(
    model: Elman,
    w: int,
    h: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Read one word: return the hidden state after it (H) and the distribution of the next word (N).

    Args:
        model: Parameters.
        w: The word read.
        h: State before it (H).
    """
    h = np.tanh(model.W @ model.C[w] + model.U @ h + model.b)
    return h, softmax(model.V @ h + model.c)


def forward(
    model: Elman,
    words: np.ndarray,
    targets: np.ndarray,
    h0: np.ndarray,
) -> tuple[float, BpttMemory]:
    """Return J in nats, summed over the T targets, and the values that `backward` needs.

    Args:
        model: Parameters.
        words: w_1 … w_T, integers below N.
        targets: y_1 … y_T.
        h0: State before the first word (H).
    """
    h = [h0]
    p = []
    J = 0.0
    for w, y in zip(words, targets, strict=True):
        h_t, p_t = step(model, w, h[-1])
        h.append(h_t)
        p.append(p_t)
        J -= float(np.log(p[-1][y]))
    return J, BpttMemory(np.array(h), np.array(p))


def backward(
    model: Elman,
    words: np.ndarray,
    targets: np.ndarray,
    memory: BpttMemory,
) -> tuple[Elman, np.ndarray]:
    """Return ∂J/∂parameter for each parameter, and ∂J/∂h_0; equations (1) to (6)."""
    total = Elman(*(np.zeros_like(parameter) for parameter in vars(model).values()))
    from_next = np.zeros_like(model.b)  # Uᵀ ∂J/∂a_{t+1}
    for t in range(len(words), 0, -1):
        w = words[t - 1]
        h_t = memory.h[t]
        h_before = memory.h[t - 1]
        dz = cross_entropy_gradient(memory.p[t - 1], targets[t - 1])  # (1)
        dh = model.V.T @ dz + from_next  # (2)
        da = (1 - h_t**2) * dh  # (3)
        total.V[:] += np.outer(dz, h_t)  # (4)
        total.c[:] += dz
        total.W[:] += np.outer(da, model.C[w])  # (5)
        total.U[:] += np.outer(da, h_before)
        total.b[:] += da
        total.C[w] += model.W.T @ da  # (6)
        from_next = model.U.T @ da

    return total, from_next
