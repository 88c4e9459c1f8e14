"""Look up embeddings in int8; those of a tied output layer are read from its packed weights, so they are held once.

A third of the memory of float32 is the bound for a network in int8; with a second copy of its largest matrix, 2×650
with 8,971 words would take 37 %.
Shapes: N tokens, E features, V vocabulary entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from ..output.adaptive import AdaptiveOutput
from ..recurrent import RecurrentNetwork
from .reader import AdaptiveLogp, Linear, SoftmaxLogp
from .whole_numbers import Rows, plain_rows, quantised


def rows_of(network: RecurrentNetwork, output: Linear) -> Rows:
    """Return the function from tokens to rows of the embedding.

    Args:
        network: The network in float32.
        output: Its output layer in int8.
    """
    embedding, layer = network.embedding.weight, network.output
    output = output.logits if isinstance(output, SoftmaxLogp) else output
    if layer.weight is embedding and isinstance(layer, AdaptiveOutput) and isinstance(output, AdaptiveLogp):
        levels: list[Any] = [output.head, *output.tails]
        if not layer.shrinks:
            return _RowsOfLevels(layer, [level.rows for level in levels])
    elif layer.weight is embedding and (rows := getattr(output, "rows", None)) is not None:
        return rows
    return plain_rows(*quantised(embedding))


class _RowsOfLevels:
    """Rows of a tied embedding from the levels of an adaptive output; those of ids that are never predicted beside it.

    Args:
        layer: The output layer in float32.
        levels: Functions from places in each of its levels to rows.
    """

    def __init__(self, layer: AdaptiveOutput, levels: Sequence[Rows]) -> None:
        order_P = layer.order_P.numpy()
        given = np.setdiff1d(np.arange(layer.entries), order_P)
        self._rows = [plain_rows(*quantised(layer.weight[torch.from_numpy(given)])), *levels]
        self._features = layer.weight.shape[1]
        self._level_V, self._place_V = np.zeros(layer.entries, np.int8), np.zeros(layer.entries, np.int32)
        self._place_V[given] = np.arange(len(given))
        for level, (low, high) in enumerate(pairwise((0, *layer.cuts)), 1):
            self._level_V[order_P[low:high]] = level
            self._place_V[order_P[low:high]] = np.arange(high - low)

    def __call__(self, ids_N: np.ndarray) -> np.ndarray:
        level_N, place_N = self._level_V[ids_N], self._place_V[ids_N]
        if len(ids_N) == 1:  # a step of one text: fewer calls
            return self._rows[level_N[0]](place_N)
        x_NE = np.empty((len(ids_N), self._features), np.float32)
        for level, rows in enumerate(self._rows):
            here_M = np.flatnonzero(level_N == level)
            if len(here_M):
                x_NE[here_M] = rows(place_N[here_M])
        return x_NE
