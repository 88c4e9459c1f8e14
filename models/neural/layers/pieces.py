"""Cut the streams of a window where they are reset, and run a fused layer once over all pieces side by side.

A fused layer cannot reset a stream inside a window, but it can read sequences of different lengths ("packed", as in
torch.nn.utils.rnn.PackedSequence). So what a stream reads between two resets becomes a sequence of its own: a few
operators for any number of positions, where the equations one by one take a dozen at each.

Shapes: B streams, T positions, N = B T, S pieces, E inputs, H units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..device import to_device


@dataclass(frozen=True)
class PackedPieces:
    """The pieces of a window's streams, longest first.

    Args:
        sizes_T: How many pieces have a first, second, … position (int64, on the processor: torch reads them there).
        order_N: Where in the window, its rows one after another, the packed positions are.
        places_N: Where in the packed positions those of the window are.
        stream_S: The stream of each piece.
        carried_S1: Whether a piece begins with the state that its stream had before the window; others begin with 0.
        last_B: The last piece of each stream.
    """

    sizes_T: Tensor
    order_N: Tensor
    places_N: Tensor
    stream_S: Tensor
    carried_S1: Tensor
    last_B: Tensor

    @classmethod
    def of(cls, keep_BT: np.ndarray, device: torch.device) -> PackedPieces:
        """Return the pieces of a window in which streams are reset before the positions whose keep_BT is False."""
        B, T = keep_BT.shape
        begins_BT = ~keep_BT
        begins_BT[:, 0] = True
        starts_S = np.flatnonzero(begins_BT)
        lengths_S = np.diff(starts_S, append=B * T)
        ranked_S = np.argsort(-lengths_S, kind="stable")
        rank_S = np.empty_like(ranked_S)
        rank_S[ranked_S] = np.arange(len(ranked_S))
        last_B = rank_S[np.cumsum(begins_BT.sum(1)) - 1]
        starts_S, lengths_S = starts_S[ranked_S], lengths_S[ranked_S]
        sizes_T = len(lengths_S) - np.searchsorted(lengths_S[::-1], np.arange(lengths_S[0]), "right")
        position_N = np.repeat(np.arange(len(sizes_T)), sizes_T)
        piece_N = np.arange(B * T) - np.repeat(np.cumsum(sizes_T) - sizes_T, sizes_T)
        order_N = starts_S[piece_N] + position_N
        places_N = np.empty_like(order_N)
        places_N[order_N] = np.arange(B * T)
        parts = order_N, places_N, starts_S // T, keep_BT.ravel()[starts_S], last_B
        together = to_device(torch.from_numpy(np.concatenate(parts).astype(np.int64)), device)  # one copy
        order, places, stream, carried, last = together.split([len(part) for part in parts])
        return cls(torch.from_numpy(sizes_T), order, places, stream, carried.bool()[:, None], last)


def run_in_pieces(
    function: Callable[..., tuple[Tensor, ...]], pieces: PackedPieces, x_BTE: Tensor,
    before: Tensor | tuple[Tensor, ...], weights: list[Tensor], batch_first: bool = True, **options: Any,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Run torch.lstm, gru, rnn_tanh or rnn_relu over a window of which these are the pieces.

    Args:
        function: One of these.
        x_BTE: Its inputs.
        before: The states of the streams before the window (1, B, H).
        weights: Of the layer.
        batch_first: True.
        options: The function's others.

    Returns:
        h_BTH, and the states of the streams after the window (1, B, H).
    """
    states = before if isinstance(before, tuple) else (before,)
    begun = [torch.where(pieces.carried_S1, state.index_select(1, pieces.stream_S), 0.0) for state in states]
    x_NE = _Reordered.apply(x_BTE.flatten(0, 1), pieces.order_N, pieces.places_N)
    given = tuple(begun) if isinstance(before, tuple) else begun[0]
    h_NH, *after = function(x_NE, pieces.sizes_T, given, weights, **options)
    h_BTH = _Reordered.apply(h_NH, pieces.places_N, pieces.order_N).unflatten(0, x_BTE.shape[:2])
    return h_BTH, *(state.index_select(1, pieces.last_B) for state in after)


class _Reordered(torch.autograd.Function):
    """Rows in another order; the gradient is put back by a look-up, where torch would add rows to zeros."""

    @staticmethod
    def forward(ctx: Any, x_NE: Tensor, order_N: Tensor, back_N: Tensor) -> Tensor:  # type: ignore[override]
        ctx.back_N = back_N
        return x_NE.index_select(0, order_N)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_NE: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return grad_NE.index_select(0, ctx.back_N), None, None
