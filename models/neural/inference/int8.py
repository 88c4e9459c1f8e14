"""Step a network with int8 weights and inputs (dynamic quantisation): less memory traffic than float32.

Dynamic quantisation: a row of weights has one scale, computed once; a row of inputs has one too, computed at each step.
The products are summed exactly in 32 bits, so a stream's result is the same to the bit in any batch. What this costs in
quality is measured for each model when it is fitted (`loss_of_int8`); `models/bundles/bundle.py` decides by it.
Shapes: N rows, E features in, G features out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...base import LanguageModel
from ...bundles.bundle import in_int8
from ...streams import TokenStream
from ...tokens.special import CONTEXT_IDS, EOS
from ..network import Network
from . import kernels, vnni
from .int8_rows import rows_of
from .reader import LSTMLayer, LSTMReader, MakeLinear, Reader, RecurrentReader, reader_kind
from .whole_numbers import product_of, quantised

REVIEWS, TOKENS = 64, 64
"""Reviews, and tokens of each, on which the loss is measured."""


class Int8Linear:
    """The product x Wᵀ + b with quantised rows; see the module.

    Args:
        weight_GE: W.
        bias_G: b.
    """

    def __init__(self, weight_GE: Tensor, bias_G: Tensor | None) -> None:
        bias_G = torch.zeros(len(weight_GE)) if bias_G is None else bias_G.detach().float()
        self.features_out = len(weight_GE)
        self._write = product_of(*quantised(weight_GE), bias_G.contiguous().numpy())
        self.rows = self._write.rows

    def __call__(self, x_NE: Tensor) -> Tensor:
        """Return x Wᵀ + b (N, G) in float32."""
        return torch.from_numpy(self.of(x_NE.contiguous().numpy()))

    def of(self, x_NE: np.ndarray) -> np.ndarray:
        """Return the same of a numpy array."""
        out_NG = np.empty((len(x_NE), self.features_out), np.float32)
        self._write(x_NE, out_NG)
        return out_NG


class _Int8LSTMLayer(LSTMLayer):
    """An LSTM layer whose products with input and state are one, so their weights are read and stored once."""

    def __init__(self, layer: Any, make: MakeLinear) -> None:
        weight_GE = torch.cat([layer.weight_ih_l0, layer.weight_hh_l0], 1)
        self._product = Int8Linear(weight_GE, layer.bias_ih_l0 + layer.bias_hh_l0)

    def inputs(self, x_NE: Tensor) -> np.ndarray:
        """Return the inputs themselves."""
        return x_NE.numpy()

    def step(
        self, x_BI: np.ndarray, h_BH: np.ndarray, c_BH: np.ndarray, after_BH: np.ndarray, new_BH: np.ndarray
    ) -> None:
        """Write c_t and h_t."""
        kernels.lstm_step(self._product.of(np.concatenate([x_BI, h_BH], 1)), c_BH, after_BH, new_BH)


class Int8LSTMReader(LSTMReader):
    """The same in int8."""

    LAYER = _Int8LSTMLayer


def is_quick() -> bool:
    """Return whether steps in int8 are quicker on this processor than in float32."""
    return vnni.available()


def int8_reader(network: Network, normalise: bool = True) -> Reader | None:
    """Return a reader of a network whose products and embeddings are in int8; None where there is no reader."""
    kind = reader_kind(network)
    if kind is None:
        return None
    reader = (Int8LSTMReader if kind is LSTMReader else kind)(network, Int8Linear, normalise)
    if isinstance(reader, RecurrentReader):
        reader.look_up(rows_of(reader.network, reader.logp))
    return reader


def loss_of_int8(model: LanguageModel, stream: TokenStream) -> float | None:
    """Return by which share int8 raises the perplexity of reviews that the model was not fitted on.

    With `REVIEWS` reviews of `TOKENS` tokens it is known to some 0.03 %. None: the model has no form in int8.

    Args:
        model: The exact model, on the CPU.
        stream: The reviews; of the first ones, the first tokens are read.
    """
    if (quick := in_int8(model)) is None:
        return None
    reviews = [stream.document(row)[:TOKENS] for row in range(min(REVIEWS, len(stream)))]
    ids_BT = np.full((len(reviews), TOKENS), EOS, np.int64)
    scored_BT = np.zeros(ids_BT.shape, bool)
    for row, ids in enumerate(reviews):
        ids_BT[row, : len(ids)] = ids
        scored_BT[row, : len(ids)] = ~np.isin(ids, list(CONTEXT_IDS))
    exact_N, quick_N = (_nats(each, ids_BT, scored_BT) for each in (model, quick))
    possible_N = torch.isfinite(exact_N)  # a model may rule out a word
    rise_N = (quick_N - exact_N)[possible_N]
    return round(float(torch.expm1(rise_N.mean())), 6) if len(rise_N) else None


def _nats(model: LanguageModel, ids_BT: np.ndarray, scored_BT: np.ndarray) -> Tensor:
    """Return −log p of the scored tokens, by steps: by place, then by text."""
    state, nats = model.start(len(ids_BT)), [torch.zeros(0, dtype=torch.float64)]
    for ids_B, next_B, scored_B in zip(ids_BT.T[:-1], ids_BT.T[1:], scored_BT.T[1:], strict=True):
        logp_BV, state = model.step(ids_B, state)
        rows_N = np.flatnonzero(scored_B)
        nats.append(-torch.log_softmax(logp_BV.double()[rows_N], 1)[range(len(rows_N)), next_B[rows_N]])
    return torch.cat(nats)
