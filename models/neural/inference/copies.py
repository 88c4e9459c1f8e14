"""Score the same tokens in several streams of each text, such as one for each rating that a text may have.

The streams of a text differ in their states alone. So what follows from the tokens is computed once for all of them:
the products of the first layer with its inputs, which are looked up for each different token of the batch. The star
token that a stream has read adds its own part. The rest are large products: the streams of all texts take each step
together.
Shapes: N streams, the copies of the first text, then of the next; U different tokens; for the other letters see
`models/base.py`.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..architectures import RecurrentNetwork
from ..network import NetworkState
from . import kernels
from .reader import AdaptiveLogp, LSTMReader, SoftmaxLogp

FEWEST = 16
"""Streams below which torch's own LSTM is faster: it has a product for few rows."""


class CopiesReader:
    """An LSTM in float32 that reads copies.

    Args:
        reader: Has the packed weights of the network; it reads no stars but those in the state.
    """

    def __init__(self, reader: LSTMReader) -> None:
        self._reader = reader
        self._network: RecurrentNetwork = reader.network
        self._layers: list[Any] = list(self._network.layers)

    def read(
        self,
        ids_BT: np.ndarray,
        copies: int,
        state: NetworkState,
    ) -> tuple[Tensor, NetworkState]:
        """Return the features after each of T tokens (T, N, E), T at least 1, and the state after them.

        Args:
            ids_BT: Tokens that are no stars.
            copies: Number of streams of each text.
            state: Of all streams.
        """
        h_LNH, c_LNH, stars_1N = state
        ids_U, place_BT = np.unique(ids_BT, return_inverse=True)
        place_TN = np.repeat(place_BT.reshape(ids_BT.shape).T, copies, axis=1)
        none_N = np.zeros(len(stars_1N[0]), np.int64)
        x_UE = self._reader.inputs(ids_U, np.zeros_like(ids_U))
        star_SG = self._star_SG
        star_N = stars_1N[0].numpy()
        after = []
        for index, layer in enumerate(self._layers):
            gates_UG = F.linear(
                torch.from_numpy(x_UE), layer.weight_ih_l0, layer.bias_ih_l0 + layer.bias_hh_l0
            ).numpy()
            h_TNH, c_NH = _steps(
                gates_UG,
                place_TN,
                star_SG,
                star_N,
                layer.weight_hh_l0.t(),
                h_LNH[index],
                c_LNH[index],
            )
            after.append((torch.from_numpy(h_TNH[-1]), c_NH))
            x_UE = h_TNH.reshape(-1, h_TNH.shape[2])
            place_TN = np.arange(place_TN.size).reshape(place_TN.shape)
            star_SG = np.zeros((1, star_SG.shape[1]), np.float32)
            star_N = none_N

        features_TNE = self._reader.project(torch.from_numpy(x_UE)).unflatten(0, place_TN.shape)
        h_LNH, c_LNH = (torch.stack(tensors) for tensors in zip(*after, strict=True))
        return features_TNE, (h_LNH, c_LNH, stars_1N)

    def nats(self, features_NE: Tensor, targets_N: np.ndarray) -> np.ndarray:
        """Return −log p of targets that are predicted (N, float32)."""
        logp = self._reader.logp
        if isinstance(logp, AdaptiveLogp | SoftmaxLogp):
            return logp.nats(features_NE, targets_N)
        return self._network.output.nats(features_NE, torch.from_numpy(targets_N)).numpy()

    @cached_property
    def _star_SG(self) -> np.ndarray:
        """The part of the first layer's gates that follows from each star token, 0 for none (S, G)."""
        stars_SE = torch.from_numpy(self._reader.stars_SE)
        part_SG: np.ndarray = F.linear(stars_SE, self._layers[0].weight_ih_l0).numpy()
        return part_SG


def _steps(
    gates_UG: np.ndarray,
    place_TN: np.ndarray,
    star_SG: np.ndarray,
    star_N: np.ndarray,
    weight_HG: Tensor,
    h_NH: Tensor,
    c_NH: Tensor,
) -> tuple[np.ndarray, Tensor]:
    """Return every hidden state (T, N, H) of a layer, and its last c.

    Args:
        gates_UG: The parts of the gates that follow from different inputs, biases included.
        place_TN: Row of each stream's input at each step.
        star_SG: Further parts.
        star_N: Row of each stream there.
        weight_HG: W_hh, transposed. torch's product is faster than the packed one for 60 rows and more.
        h_NH: The first h.
        c_NH: The first c.
    """
    c_NH = c_NH.clone()
    h_TNH = torch.empty(len(place_TN), *h_NH.shape)
    gates_NG = torch.empty(len(h_NH), weight_HG.shape[1])
    for place_N, new_NH in zip(place_TN, h_TNH, strict=True):
        torch.mm(h_NH, weight_HG, out=gates_NG)
        kernels.lstm_step_of_copies(
            gates_NG.numpy(),
            gates_UG,
            place_N,
            star_SG,
            star_N,
            c_NH.numpy(),
            new_NH.numpy(),
        )
        h_NH = new_NH

    return h_TNH.numpy(), c_NH
