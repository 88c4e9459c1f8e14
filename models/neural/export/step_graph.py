"""Export one step of a fitted network with `torch.export`: a token and a state in, log-probabilities and a state out.

    graph(ids_B, *state) → (logp_BV, *state)

The start state is zeros, for the feed-forward network `<bos>`. The number of texts B is free. `torch.export` needs no
package besides torch, and keeps int64 states and the exact operations. Shape legend: see `models/base.py`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..lm import NeuralLM, NeuralState
from ..network import STREAMS, Network

EXAMPLE_BATCH = 3
"""Texts of the example that is traced; torch treats 0 and 1 as special sizes."""
STATES = {2: ("hidden", "stars"), 3: ("hidden", "cell", "stars"), 1: ("words",)}
"""Names of the state tensors by their number: of RNN and GRU, of the LSTM, of the feed-forward network."""


class StepGraph(nn.Module):
    """One step of a network, as a function of tensors only."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids_B: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Read one token of each text; return the distributions of the next token and the new state."""
        features_BTE, after = self.network(ids_B[:, None], state)
        return self.network.output.logp(features_BTE[:, 0]), *after


def export_step(network: Network, file: Path) -> None:
    """Write the graph of one step to a `.pt2` file, which `torch.export.load` opens.

    Args:
        network: A network on the CPU, in evaluation mode.
        file: The file; its name ends in `.pt2`.
    """
    # Copies: torch would make one input of two states that are the same tensor.
    state = tuple(tensor.clone() for tensor in network.start(EXAMPLE_BATCH, "cpu"))
    ids_B = torch.zeros(EXAMPLE_BATCH, dtype=torch.int64)
    batch = torch.export.Dim("batch")
    shapes = {0: batch}, tuple({STREAMS: batch} for _ in state)
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):
        program = torch.export.export(StepGraph(network), (ids_B, *state), dynamic_shapes=shapes)
        program.example_inputs = None  # would be stored as a pickle
        torch.export.save(program, file)


class ExportedLM:
    """A graph of one step behind the interface of `LanguageModel` that generation needs.

    Args:
        graph: A function of ids and state tensors, like `StepGraph`.
        model: The model that it comes from, for its start state.
    """

    def __init__(self, graph: Callable[..., Sequence[Tensor]], model: NeuralLM) -> None:
        self._graph, self._begin, self.vocabulary_size = graph, model.network.start, model.vocabulary_size

    @classmethod
    def load(cls, file: Path, model: NeuralLM) -> ExportedLM:
        """Open what `export_step` wrote."""
        with warnings.catch_warnings(action="ignore"):
            return cls(torch.export.load(file).module(), model)

    def start(self, batch: int) -> NeuralState:
        """Return the state of *batch* texts before their first token."""
        return NeuralState(self._begin(batch, "cpu"), torch.empty(batch, 0))

    @torch.no_grad()
    def step(self, ids_B: np.ndarray, state: NeuralState) -> tuple[Tensor, NeuralState]:
        """Read one token of each text; see `LanguageModel.step`."""
        logp_BV, *after = self._graph(torch.from_numpy(np.ascontiguousarray(ids_B, np.int64)), *state.network)
        return logp_BV, NeuralState(tuple(after), state.features_BE)

    def advance(self, ids_BT: np.ndarray, state: NeuralState) -> NeuralState:
        """Read T tokens of each text."""
        for ids_B in ids_BT.T:
            _, state = self.step(ids_B, state)
        return state
