"""Compute the gradient of one window: read it, some streams at a time, and add up the gradients of its summed nats.

The code adds up sums over tokens, not means. The sums are divided once, by the positions of the whole window. So a
token has the same weight in every part of the window, for any number of scored tokens in the parts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.neural.device import one
from models.neural.network import Network
from models.neural.training_spec import TrainingSpec
from training.neural.fused.captured import Read
from training.neural.penalties import activation_penalty
from training.neural.tbptt import Memory, read_window


@dataclass(frozen=True)
class Sums:
    """The sums of a window, apart from the gradients: nats of its scored tokens, and their number.

    On a GPU the nats are a scalar there that nobody has read yet.
    """

    nats: float | Tensor
    tokens: int


def add_gradients(
    network: Network, memory: Memory, x_BT: Tensor, y_BT: Tensor, keep_B: Tensor | None,
    training: TrainingSpec, micro_batch: int, read: Read | None = None, ids_on_host: np.ndarray | None = None,
) -> tuple[Sums, Memory]:  # fmt: skip
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
        ids_on_host: x_BT on the processor, for networks for which `reads_pieces` holds; only with k1 = k2.

    Returns:
        The sums, without penalties, and the memory after the window.
    """
    past = (training.bptt_grad_len or training.bptt_len) - training.bptt_len
    nats, tokens, memories = torch.zeros((), dtype=torch.float64, device=x_BT.device), 0, []
    with network.output.one_update():
        for begin in range(0, len(x_BT), micro_batch):
            part = slice(begin, min(begin + micro_batch, len(x_BT)))
            kept, targets_BT = None if keep_B is None else keep_B[part], y_BT[part]
            network.ids_on_host = None if ids_on_host is None else ids_on_host[part]
            reading, after = read_window(network, memory.rows(part), x_BT[part], kept, past, read)
            features_BTE = reading.features_BTE
            if features_BTE.is_cuda and features_BTE.transpose(0, 1).is_contiguous():  # then this order needs no copy
                features_BTE, targets_BT = features_BTE.transpose(0, 1), targets_BT.t()
            loss, count = network.output.loss(features_BTE.flatten(0, 1), targets_BT.flatten(), network.products)
            nats, tokens = nats + loss.detach(), tokens + count
            if training.penalises_activations:
                loss = loss + targets_BT.numel() * activation_penalty(training, reading.activations)
            if count or training.penalises_activations:
                # On a GPU a given one saves a launch; on a processor torch would import sympy to look at its shape.
                loss.backward(one(loss.device) if loss.is_cuda else None)
            memories.append(after)
    return Sums(nats if nats.is_cuda else float(nats), tokens), Memory.join(memories)
