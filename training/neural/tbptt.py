"""Read windows for truncated back-propagation through time with carried state (Williams & Peng 1990, BPTT(h; h')).

Every k1 tokens there is one update, whose gradient flows back through the last k2 ≥ k1 tokens. The state is carried
from window to window, its gradient is not. With k2 = k1 a window starts where the last one ended. With k2 > k1 the
last k2 − k1 tokens are read again, from the state that was saved before them, without being scored again.

Shapes: B streams, T = k1 positions of a window, P positions of the past that are read again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from models.neural.network import STREAMS, Network, NetworkState, detach, join
from training.neural.fused.captured import Read

Activations = tuple[Tensor, Tensor]
"""Outputs of the last layer after dropout and before it, both (B, T, H); penalties are computed from them."""


@dataclass(frozen=True)
class Memory:
    """The memory of B streams between two windows; never changed, so a window can be read again.

    Args:
        state: The network's state before the past.
        ids_BP: The past: tokens that the next window's gradient flows through.
        resets: Positions of the past where streams were reset, each with False for those streams (bool, B).
    """

    state: NetworkState
    ids_BP: Tensor
    resets: Mapping[int, Tensor] = field(default_factory=dict)

    @classmethod
    def empty(cls, network: Network, batch: int, device: torch.device) -> Memory:
        """Return the memory before the first window."""
        return cls(network.start(batch, device), torch.zeros(batch, 0, dtype=torch.int64, device=device))

    def rows(self, part: slice) -> Memory:
        """Return the memory of some of the streams."""
        if part == slice(0, len(self.ids_BP)):
            return self
        state = tuple(tensor.narrow(STREAMS, part.start, part.stop - part.start) for tensor in self.state)
        resets = {at: keep_B[part] for at, keep_B in self.resets.items()}
        return Memory(tuple(tensor.contiguous() for tensor in state), self.ids_BP[part], resets)

    @classmethod
    def join(cls, parts: Sequence[Memory]) -> Memory:
        """Return the memory of all streams, one after another."""
        if len(parts) == 1:
            return parts[0]
        resets = {at: torch.cat([part.resets[at] for part in parts]) for at in parts[0].resets}
        return cls(join([part.state for part in parts]), torch.cat([part.ids_BP for part in parts]), resets)

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name, for a checkpoint."""
        states = {f"state.{index}": tensor for index, tensor in enumerate(self.state)}
        return {"past": self.ids_BP, **states, **{f"reset.{at}": keep_B for at, keep_B in self.resets.items()}}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], device: torch.device) -> Memory:
        """Rebuild a memory from the result of `tensors`."""
        own = {name: tensor.to(device) for name, tensor in tensors.items()}
        states = sum(name.startswith("state.") for name in own)
        resets = {int(name[6:]): keep_B for name, keep_B in own.items() if name.startswith("reset.")}
        return cls(tuple(own[f"state.{index}"] for index in range(states)), own["past"], resets)


@dataclass(frozen=True)
class Reading:
    """The network's outputs for a window: features (B, T, E), and the last layer's outputs or None."""

    features_BTE: Tensor
    activations: Activations | None


def read_window(
    network: Network, memory: Memory, ids_BT: Tensor, keep_B: Tensor | None, past: int, read: Read | None = None
) -> tuple[Reading, Memory]:
    """Read the next window of some streams, with its gradient through k2 tokens.

    With k2 > k1 that takes several calls of the network, and dropout draws new masks in each.

    Args:
        memory: Of these streams, from the window before.
        ids_BT: The tokens that follow those of the last window.
        keep_B: False for streams that are reset before this window; None where none is.
        past: k2 − k1, tokens that the gradient flows back through beyond a window.
        read: Called in place of the network.
    """
    read = read or network
    before = memory.ids_BP.shape[1]
    ids_BS = torch.cat([memory.ids_BP, ids_BT], 1) if before else ids_BT
    resets = memory.resets if keep_B is None else {**memory.resets, before: keep_B}
    length = ids_BS.shape[1]
    begin = max(0, length - past)
    state, saved, pieces = memory.state, memory.state, []
    # Read in pieces: a piece ends where a stream is reset and where the next window's past begins (save the state).
    for left, right in pairwise(sorted({0, begin, length, *resets})):
        if left in resets:
            state = network.reset(state, resets[left])
        if left == begin:
            saved = detach(state)
        features_BTE, state = read(ids_BS[:, left:right], state)
        pieces.append((features_BTE, *(network.last_layer or ())))
    network.last_layer = None
    if begin == length:
        saved = detach(state)
    features_BTE, *activations = (_last(tensors, before) for tensors in zip(*pieces, strict=True))
    after = {at - begin: keep_B for at, keep_B in resets.items() if at > begin}
    reading = Reading(features_BTE, (activations[0], activations[1]) if activations else None)
    return reading, Memory(saved, ids_BS[:, begin:], after)


def _last(pieces: Sequence[Tensor], before: int) -> Tensor:
    """Return the positions from *before* on of consecutive pieces."""
    whole = pieces[0] if len(pieces) == 1 else torch.cat(list(pieces), 1)
    return whole[:, before:] if before else whole
