"""Compute the gradient of a window by truncated back-propagation through time (Williams & Peng 1990, BPTT(h; h')).

Every k1 tokens there is one update, whose gradient flows back through the last k2 ≥ k1 tokens. The state is carried
from window to window, its gradient is not. With k2 = k1 a window starts where the last one ended. With k2 > k1 the
last k2 − k1 tokens are read again, from the state that was saved before them, without being scored again.

A window may be read some streams at a time. The code adds up sums over tokens, not means. The sums are divided once, by
the positions of the whole window. So a token has the same weight in every part of the window, for any number of scored
tokens in the parts.

The outputs of the last recurrent layer are penalised (activation regularisation, AR and TAR) as in Merity, McCann &
Socher 2017, "Revisiting activation regularization for language RNNs", equations 1 and 2, with the mean square instead
of the norm, as in their program.

    AR  = α mean(m ⊙ h_t)²                       outputs after dropout, so that they stay small
    TAR = β mean(h_t − h_{t+1})²                 outputs before dropout, so that they change slowly

The means are over all streams, positions and units. The penalties are part of the training objective, not of the
reported figures.

Shapes: B streams, T = k1 positions of a window, P positions of the past that are read again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from reviewlm.models.base import ModelError
from reviewlm.models.neural.device import one
from reviewlm.models.neural.network import STREAMS, Network, NetworkState, detach, join
from reviewlm.models.neural.spec import TrainingSpec
from reviewlm.training.neural.fused.captured import Read

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
    def empty(
        cls,
        network: Network,
        batch: int,
        device: torch.device,
    ) -> Memory:
        """Return the memory before the first window."""
        return cls(
            network.start(batch, device), torch.zeros(batch, 0, dtype=torch.int64, device=device)
        )

    def rows(self, part: slice) -> Memory:
        """Return the memory of some of the streams."""
        if part == slice(0, len(self.ids_BP)):
            return self
        state = tuple(
            tensor.narrow(STREAMS, part.start, part.stop - part.start) for tensor in self.state
        )
        resets = {at: keep_B[part] for at, keep_B in self.resets.items()}
        return Memory(tuple(tensor.contiguous() for tensor in state), self.ids_BP[part], resets)

    @classmethod
    def join(cls, parts: Sequence[Memory]) -> Memory:
        """Return the memory of all streams, one after another."""
        if len(parts) == 1:
            return parts[0]
        resets = {}
        for at in parts[0].resets:
            resets[at] = torch.cat([part.resets[at] for part in parts])

        return cls(
            join([part.state for part in parts]), torch.cat([part.ids_BP for part in parts]), resets
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name, for a checkpoint."""
        states = {f"state.{index}": tensor for index, tensor in enumerate(self.state)}
        return {
            "past": self.ids_BP,
            **states,
            **{f"reset.{at}": keep_B for at, keep_B in self.resets.items()},
        }

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], device: torch.device) -> Memory:
        """Rebuild a memory from the result of `tensors`."""
        moved = {name: tensor.to(device) for name, tensor in tensors.items()}
        states = sum(name.startswith("state.") for name in moved)
        resets = {}
        for name, keep_B in moved.items():
            if name.startswith("reset."):
                resets[int(name[6:])] = keep_B

        return cls(tuple(moved[f"state.{index}"] for index in range(states)), moved["past"], resets)


@dataclass(frozen=True)
class Reading:
    """The network's outputs for a window: features (B, T, E), and the last layer's outputs or None."""

    features_BTE: Tensor
    activations: Activations | None


def read_window(
    network: Network,
    memory: Memory,
    ids_BT: Tensor,
    keep_B: Tensor | None,
    past: int,
    read: Read | None = None,
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
    ids_BS = ids_BT
    if before:
        ids_BS = torch.cat([memory.ids_BP, ids_BT], 1)

    if keep_B is None:
        resets = memory.resets
    else:
        resets = {**memory.resets, before: keep_B}

    length = ids_BS.shape[1]
    begin = max(0, length - past)
    state = memory.state
    saved = memory.state
    pieces = []
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
    if len(pieces) == 1:
        whole = pieces[0]
    else:
        whole = torch.cat(list(pieces), 1)

    return whole[:, before:] if before else whole


def activation_penalty(training: TrainingSpec, activations: Activations | None) -> Tensor:
    """Return α mean(h²) + β mean((h_t − h_{t+1})²), a scalar; for a single position the second term is 0.

    Raises:
        ModelError: kind "input": the network has no recurrent layer.
    """
    if activations is None:
        raise ModelError(
            "training.activation_penalty and training.temporal_penalty need a recurrent network: this one has no "
            "recurrent layer. Set both to 0",
            "input",
        )

    dropped_BTH, raw_BTH = activations
    penalty = training.activation_penalty * _wide(dropped_BTH).square().mean()
    if raw_BTH.shape[1] > 1 and training.temporal_penalty:
        penalty = penalty + training.temporal_penalty * _wide(raw_BTH).diff(dim=1).square().mean()

    return penalty


def _wide(h_BTH: Tensor) -> Tensor:
    """Return features in float32 at least."""
    return h_BTH.to(torch.promote_types(h_BTH.dtype, torch.float32))


@dataclass(frozen=True)
class Sums:
    """The sums of a window, apart from the gradients: nats of its scored tokens, and their number.

    On a GPU the nats are a scalar there that nobody has read yet.
    """

    nats: float | Tensor
    tokens: int


def add_gradients(
    network: Network,
    memory: Memory,
    x_BT: Tensor,
    y_BT: Tensor,
    keep_B: Tensor | None,
    training: TrainingSpec,
    micro_batch: int,
    read: Read | None = None,
) -> tuple[Sums, Memory]:
    """Read a window and add the gradient of (sum of nats + positions · penalties) to `.grad` of the parameters.

    Args:
        network: In training mode.
        memory: Of the streams; it is not changed, so the window can be read again.
        x_BT: Tokens read.
        y_BT: Tokens that follow them; −1 is not scored. On the processor, also when the network is on a GPU: then no
            wait for it is needed.
        keep_B: False for streams that are reset before this window; None where none is.
        training: Penalties, k1 and k2.
        micro_batch: Streams read at a time. Only their activations are in memory. Dropout draws separate masks for each
            part; an estimator of the output layer draws once for all parts.
        read: Called in place of the network, in one part only.

    Returns:
        The sums, without penalties, and the memory after the window.
    """
    past = (training.bptt_grad_len or training.bptt_len) - training.bptt_len
    nats = torch.zeros((), dtype=torch.float64, device=x_BT.device)
    tokens = 0
    memories = []
    with network.output.one_update():
        for begin in range(0, len(x_BT), micro_batch):
            part = slice(begin, min(begin + micro_batch, len(x_BT)))
            keep = None if keep_B is None else keep_B[part]
            targets_BT = y_BT[part]
            reading, after = read_window(
                network,
                memory.rows(part),
                x_BT[part],
                keep,
                past,
                read,
            )
            features_BTE = reading.features_BTE
            # Then this order needs no copy.
            if features_BTE.is_cuda and features_BTE.transpose(0, 1).is_contiguous():
                features_BTE = features_BTE.transpose(0, 1)
                targets_BT = targets_BT.t()
            loss, count = network.output.loss(
                features_BTE.flatten(0, 1), targets_BT.flatten(), network.products
            )
            nats = nats + loss.detach()
            tokens += count
            if training.penalises_activations:
                loss = loss + targets_BT.numel() * activation_penalty(training, reading.activations)
            if count or training.penalises_activations:
                # On a GPU a given one saves a launch; on a processor torch would import sympy to look at its shape.
                loss.backward(one(loss.device) if loss.is_cuda else None)
            memories.append(after)

    return Sums(nats if nats.is_cuda else float(nats), tokens), Memory.join(memories)
