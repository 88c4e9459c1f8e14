"""The gradient of one window: read it, some streams at a time, and add up the gradients of the sum of its nats.

What is added up are sums over tokens, never means: they are divided once, by the positions of the whole window, so a
token weighs the same in whatever part of the window it stands and however many scored tokens the parts have.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...specs import TrainingSpec
from ..layers.penalties import activation_penalty, wanted
from ..network import Network
from .tbptt import Memory, read_window


@dataclass(frozen=True)
class Sums:
    """What a window gave, next to the gradients: the sum of the nats of its scored tokens, and how many these are."""

    nats: float
    tokens: int


def add_gradients(
    network: Network, memory: Memory, x_BT: Tensor, y_BT: Tensor, keep_B: Tensor | None,
    training: TrainingSpec, micro_batch: int,
) -> tuple[Sums, Memory]:  # fmt: skip
    """Read a window and add the gradient of (sum of nats + positions · penalties) to `.grad` of the parameters.

    Args:
        network: In training mode.
        memory: What is remembered of the streams; it is not changed, so the window can be read again.
        x_BT: Tokens read.
        y_BT: Tokens that follow them; −1 is not scored.
        keep_B: False for streams that forget all before this window; None where all remember.
        training: Penalties, k1 and k2.
        micro_batch: Streams read at a time. Only their activations are in memory; dropout draws masks of
            its own for each part; an estimator of the output layer draws once for all parts.

    Returns:
        The sums, without penalties, and what is remembered after the window.
    """
    past = (training.backprop or training.window) - training.window
    nats, tokens, memories = torch.zeros((), dtype=torch.float64, device=x_BT.device), 0, []
    with network.output.one_update():
        for begin in range(0, len(x_BT), micro_batch):
            part = slice(begin, min(begin + micro_batch, len(x_BT)))
            kept, y_N = None if keep_B is None else keep_B[part], y_BT[part].flatten()
            reading, after = read_window(network, memory.rows(part), x_BT[part], kept, past)
            loss, count = network.output.loss(reading.features_BTE.flatten(0, 1), y_N, network.products)
            nats, tokens = nats + loss.detach(), tokens + count
            if wanted(training):
                loss = loss + len(y_N) * activation_penalty(training, reading.activations)
            if count or wanted(training):
                loss.backward()
            memories.append(after)
    return Sums(float(nats), tokens), Memory.join(memories)
