"""Step a network with int8 weights and inputs (dynamic quantisation): less memory traffic than float32.

Dynamic quantisation: a row of weights has one scale, computed once; a row of inputs has one too, computed at each step.
The products are summed exactly in 32 bits, so a stream's result is the same to the bit in any batch. What this costs in
quality is measured for each model when it is fitted (`training/neural/neural_fit.py`); `models/bundles/bundle.py`
decides by it.

**Embeddings** of a tied output layer are read from its packed weights, so they are held once. A third of the memory of
float32 is the bound for a network in int8; with a second copy of its largest matrix, 2×650 with 8,971 words would take
37 %.

**Products** are compiled for VNNI or AVX2; on other processors there is no form in int8.
Shapes: N rows or tokens, E features in, G features out, V vocabulary entries.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..architectures import RecurrentNetwork
from ..inference import int8_products as products
from ..inference import kernels
from ..network import Network
from ..output.adaptive import AdaptiveOutput
from .reader import (
    AdaptiveLogp,
    Linear,
    LSTMLayer,
    LSTMReader,
    MakeLinear,
    Reader,
    RecurrentReader,
    SoftmaxLogp,
    reader_kind,
)

LEVELS = 127
SHARED = 2 * products.ROWS
"""Rows from which two threads compute a product: a tile for each."""
Rows = Callable[[np.ndarray], np.ndarray]
"""Returns some rows of W (N, E; float32) by their numbers (N)."""


@cache
def _beside(process: int) -> ThreadPoolExecutor:
    """Return the second thread of products; a forked process has its own."""
    return ThreadPoolExecutor(1, "int8")


def quantise_rows(weight_GE: Tensor) -> tuple[Tensor, np.ndarray]:
    """Return the rows of W as whole numbers (int8), and their scales (G)."""
    weight_GE = weight_GE.detach().float()
    scale_G1 = weight_GE.abs().amax(1, keepdim=True).clamp_min(1e-30) / LEVELS
    return (weight_GE / scale_G1).round().to(torch.int8), scale_G1[:, 0].numpy()


def plain_rows(weight_GE: Tensor, scale_G: np.ndarray) -> Rows:
    """Return rows of W from whole numbers that are kept for this alone."""
    whole_GE = weight_GE.contiguous().numpy()
    return lambda ids_N: whole_GE[ids_N] * scale_G[ids_N, None]


def rows_of(network: RecurrentNetwork, output: Linear) -> Rows:
    """Return the function from tokens to rows of the embedding.

    Args:
        network: The network in float32.
        output: Its output layer in int8.
    """
    embedding = network.embedding.weight
    layer = network.output
    output = output.logits if isinstance(output, SoftmaxLogp) else output
    if (
        layer.weight is embedding
        and isinstance(layer, AdaptiveOutput)
        and isinstance(output, AdaptiveLogp)
    ):
        levels: list[Any] = [output.head, *output.tails]
        if not layer.shrinks:
            return _RowsOfLevels(layer, [level.rows for level in levels])
    elif layer.weight is embedding and (rows := getattr(output, "rows", None)) is not None:
        return rows

    return plain_rows(*quantise_rows(embedding))


class _RowsOfLevels:
    """Rows of a tied embedding from the levels of an adaptive output; those of ids that are never predicted beside it.

    Args:
        layer: The output layer in float32.
        levels: Functions from places in each of its levels to rows.
    """

    def __init__(self, layer: AdaptiveOutput, levels: Sequence[Rows]) -> None:
        order_P = layer.order_P.numpy()
        given = np.setdiff1d(np.arange(layer.entries), order_P)
        self._rows = [plain_rows(*quantise_rows(layer.weight[torch.from_numpy(given)])), *levels]
        self._features = layer.weight.shape[1]
        self._level_V = np.zeros(layer.entries, np.int8)
        self._place_V = np.zeros(layer.entries, np.int32)
        self._place_V[given] = np.arange(len(given))
        for level, (low, high) in enumerate(pairwise((0, *layer.cuts)), 1):
            self._level_V[order_P[low:high]] = level
            self._place_V[order_P[low:high]] = np.arange(high - low)

    def __call__(self, ids_N: np.ndarray) -> np.ndarray:
        level_N = self._level_V[ids_N]
        place_N = self._place_V[ids_N]
        if len(ids_N) == 1:  # a step of one text: fewer calls
            return self._rows[level_N[0]](place_N)

        x_NE = np.empty((len(ids_N), self._features), np.float32)
        for level, rows in enumerate(self._rows):
            here_M = np.flatnonzero(level_N == level)
            if len(here_M):
                x_NE[here_M] = rows(place_N[here_M])

        return x_NE


class Int8Linear:
    """The product x Wᵀ + b with quantised rows; its packed weights can be read back.

    Args:
        weight_GE: W.
        bias_G: b.
    """

    def __init__(self, weight_GE: Tensor, bias_G: Tensor | None) -> None:
        self.features_out, self._features = weight_GE.shape
        whole_GE, scale_G = quantise_rows(weight_GE)
        if bias_G is None:
            bias_G = torch.zeros(self.features_out)
        else:
            bias_G = bias_G.detach().float()

        self._packed = products.pack(whole_GE.contiguous().numpy())
        self._scale_G, self._bias_G = map(products.pad_to_tile, (scale_G, bias_G.numpy()))

    def __call__(self, x_NE: Tensor) -> Tensor:
        """Return x Wᵀ + b (N, G) in float32."""
        return torch.from_numpy(self.of(x_NE.contiguous().numpy()))

    def of(self, x_NE: np.ndarray) -> np.ndarray:
        """Return the products of a numpy array's rows; half of many rows in another thread, if torch may use one."""
        out_NG = np.empty((len(x_NE), self.features_out), np.float32)
        if len(x_NE) < SHARED or torch.get_num_threads() == 1:
            self._write(x_NE, out_NG)
            return out_NG

        half = -(-len(x_NE) // (2 * products.ROWS)) * products.ROWS
        try:
            beside = _beside(os.getpid()).submit(self._write, x_NE[half:], out_NG[half:])
        except RuntimeError:  # no thread can start, or the process is ending
            self._write(x_NE, out_NG)
            return out_NG

        self._write(x_NE[:half], out_NG[:half])
        if beside.cancel():  # not begun: other programs keep the cores busy
            self._write(x_NE[half:], out_NG[half:])
        else:
            beside.result()

        return out_NG

    def _write(self, x_NE: np.ndarray, out_NG: np.ndarray) -> None:
        products.linear(
            x_NE,
            self._packed,
            self._scale_G,
            self._bias_G,
            out_NG,
        )

    def rows(self, ids_N: np.ndarray) -> np.ndarray:
        """Return some rows of W (N, E)."""
        out_NE = np.empty((len(ids_N), self._features), np.float32)
        products.write_rows(self._packed, self._scale_G, ids_N, out_NE)
        return out_NE


class _Int8LSTMLayer(LSTMLayer):
    """An LSTM layer whose products with input and state are one, so their weights are read and stored once."""

    def __init__(self, layer: Any, make: MakeLinear) -> None:
        weight_GE = torch.cat([layer.weight_ih_l0, layer.weight_hh_l0], 1)
        self._product = Int8Linear(weight_GE, layer.bias_ih_l0 + layer.bias_hh_l0)

    def inputs(self, x_NE: Tensor) -> np.ndarray:
        """Return the inputs themselves."""
        return x_NE.numpy()

    def step(
        self,
        x_BI: np.ndarray,
        h_BH: np.ndarray,
        c_BH: np.ndarray,
        after_BH: np.ndarray,
        new_BH: np.ndarray,
    ) -> None:
        """Write c_t and h_t."""
        kernels.lstm_step(self._product.of(np.concatenate([x_BI, h_BH], 1)), c_BH, after_BH, new_BH)


class Int8LSTMReader(LSTMReader):
    """LSTM reader with int8 weights."""

    LAYER = _Int8LSTMLayer


def int8_reader(network: Network, normalise: bool = True) -> Reader | None:
    """Return a reader of a network whose products and embeddings are in int8; None where there is no reader."""
    kind = reader_kind(network)
    if kind is None or not products.AVAILABLE:
        return None
    reader = (Int8LSTMReader if kind is LSTMReader else kind)(network, Int8Linear, normalise)
    if isinstance(reader, RecurrentReader):
        reader.look_up(rows_of(reader.network, reader.logp))

    reader.made_by = (int8_reader, (network, normalise))
    return reader
