"""Pool the features of all positions of a sequence into one summary; padding never changes a result.

    mean        1/n Σ_t h_t                                       t = 1 … n, the real positions
    max, min    the largest, smallest value of each feature over t
    attention   Σ_t a_t h_t,  a = softmax(v · tanh(W h_t + b))    Yang et al. 2016, eq. 5 to 7

Shapes: B sequences, T positions, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Pooling = Callable[[Tensor, Tensor], Tensor]


def mean(h_BTF: Tensor, inside_BT: Tensor) -> Tensor:
    """Return the mean over the positions inside each sequence (B, F)."""
    inside_BT1 = inside_BT[..., None]
    return torch.where(inside_BT1, h_BTF, 0.0).sum(1) / inside_BT1.sum(1).to(h_BTF.dtype)


def largest(h_BTF: Tensor, inside_BT: Tensor) -> Tensor:
    """Return the maximum over the positions inside each sequence (B, F)."""
    return h_BTF.masked_fill(~inside_BT[..., None], -torch.inf).amax(1)


def smallest(h_BTF: Tensor, inside_BT: Tensor) -> Tensor:
    """Return the minimum over the positions inside each sequence (B, F)."""
    return h_BTF.masked_fill(~inside_BT[..., None], torch.inf).amin(1)


POOLINGS: dict[str, Pooling] = {"mean": mean, "max": largest, "min": smallest}


def pool(names: Sequence[str], h_BTF: Tensor, inside_BT: Tensor) -> Tensor:
    """Return the named poolings of *h_BTF*, joined in their order (B, F × number of names)."""
    return torch.cat([POOLINGS[name](h_BTF, inside_BT) for name in names], 1)


class Attention(nn.Module):
    """A learned weighted mean over the positions of a sequence.

    Args:
        features: F.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, features)
        self.score = nn.Linear(features, 1, bias=False)

    def weights(self, h_BTF: Tensor, inside_BT: Tensor) -> Tensor:
        """Return a (B, T); each row sums to 1 over the positions inside the sequence and is 0 in the padding."""
        scores_BT = self.score(torch.tanh(self.hidden(h_BTF)))[..., 0]
        return torch.softmax(scores_BT.masked_fill(~inside_BT, -torch.inf), 1)

    def forward(self, h_BTF: Tensor, inside_BT: Tensor) -> Tensor:
        """Return Σ_t a_t h_t (B, F); *h_BTF* is finite also in the padding."""
        return (self.weights(h_BTF, inside_BT)[..., None] * h_BTF).sum(1)
