"""Define the interface of a neural network that the trainer and the language-model protocol use.

A network turns token ids into features; its output layer (`models/neural/output/`) turns features into
probabilities. Recurrent and feed-forward models differ only in how they compute features, so one trainer and one
`NeuralLM` serve all of them. Its weights are written and read here. Shape legend: see `models/base.py`.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..base import ModelError, translate_read_errors
from .device import onednn_has_bf16
from .spec import WEIGHTS, NPLMSpec, RecurrentSpec

if TYPE_CHECKING:
    from .output.base import OutputLayer, Precision


NetworkState = tuple[torch.Tensor, ...]
"""The network's memory of B streams: tensors whose dimension 1 counts the streams, e.g. h_LBH."""

EMBEDDING_STD = 0.05
"""Standard deviation of initial embeddings and output rows. It is so small that the first logits are nearly equal, and
the untrained model starts at log V (or at the distribution of its output bias).
"""
STREAMS = 1
"""The dimension of every state tensor that counts the streams."""
log = logging.getLogger(__name__)


@cache
def bf16_on_processor() -> bool:
    """Return whether the CPU has instructions for products in bfloat16; log once if it has none.

    Without them (for example x86 with AVX2 only) oneDNN refuses such products. torch's own take 8 times as long as
    those in float32 for 1,000 rows, and 60 times as long for a step of 20 streams (measured with AVX2 alone allowed).
    """
    if onednn_has_bf16():
        return True
    # Not a warning: a user could change nothing.
    log.debug("this processor has no bfloat16 instructions: training in float32")
    return False


class Network(nn.Module):
    """Base class of all neural language models: reads tokens, keeps a state, gives features to its output layer.

    In training mode dropout is on and products run in the number format of `precision`. In evaluation mode there is no
    dropout and all is float32, so a score depends neither on the batch nor on where a text is cut.

    Attributes:
        embedding: A row for each entry of the vocabulary.
        output: The output layer: loss, nats and log-probabilities of features.
        precision: The requested number format of matrix products in training mode; see `products`.
        last_layer: Outputs of the last recurrent layer after and before dropout (both B, T, H) in the latest call, with
            their gradient. Set for recurrent networks in training mode when the recipe penalises activations; else
            None.
    """

    embedding: nn.Embedding
    output: OutputLayer
    precision: Precision = "float32"
    last_layer: tuple[torch.Tensor, torch.Tensor] | None = None

    @property
    def products(self) -> Precision:
        """The number format of matrix products now: `precision` in training mode, but float32 where that is faster."""
        trains = self.training and self.precision == "bf16"
        if trains and (self.output.weight.is_cuda or bf16_on_processor()):
            return "bf16"
        return "float32"

    @abstractmethod
    def start(self, batch: int, device: torch.device | str) -> NetworkState:
        """Return the state of *batch* streams before their first token."""
        raise NotImplementedError

    @abstractmethod
    def forward(
        self, ids_BT: torch.Tensor, state: NetworkState
    ) -> tuple[torch.Tensor, NetworkState]:
        """Read T tokens of each stream.

        Args:
            ids_BT: int64.
            state: The result of `start` or of an earlier call.

        Returns:
            features_BTE (float32; on a GPU bfloat16 while training in bf16): row [b, t] has read ids[b, :t+1] and
            predicts ids[b, t+1]; and the new state. Gradients flow through the state: cut them with `detach`.
        """
        raise NotImplementedError

    def reset(self, state: NetworkState, keep_B: torch.Tensor) -> NetworkState:
        """Return the state in which streams whose keep_B (bool) is False are back at their start."""
        fresh = self.start(len(keep_B), state[0].device)
        keep_B = keep_B.to(state[0].device)
        kept = []
        for old, new in zip(state, fresh, strict=True):
            rest = [1] * (old.dim() - 2)
            kept.append(torch.where(keep_B.view(1, -1, *rest), old, new))

        return tuple(kept)


def detach(state: NetworkState) -> NetworkState:
    """Return a hidden state without its gradient history: the cut of truncated BPTT."""
    return tuple(tensor.detach() for tensor in state)


def take(state: NetworkState, rows: Sequence[int]) -> NetworkState:
    """Return the chosen streams, in the order given; a row may be taken more than once."""
    index = torch.as_tensor(list(rows), dtype=torch.long, device=state[0].device)
    return tuple(tensor.index_select(STREAMS, index) for tensor in state)


def join(states: Sequence[NetworkState]) -> NetworkState:
    """Return one state of all streams, one after another."""
    return tuple(torch.cat(tensors, STREAMS) for tensors in zip(*states, strict=True))


def require_weights_for(
    spec: RecurrentSpec | NPLMSpec,
    vocabulary_size: int,
    path: Path,
) -> None:
    """Refuse a file that is far too small for the options, before memory is allocated for a network of that size.

    Raises:
        ModelError: kind "bundle".
    """
    if isinstance(spec, RecurrentSpec):
        inner = spec.layers * spec.hidden
    else:
        inner = spec.context * spec.embedding

    least = 4 * (vocabulary_size * spec.embedding + inner * spec.hidden)
    if not path.is_file():  # `load` says that it is missing
        return

    size = path.stat().st_size
    if size < least:
        raise ModelError(
            f"{path} has {size:,} bytes; a model of its options has over {least:,}", "bundle"
        )


def fill_from(network: Network, folder: Path) -> None:
    """Put the weights of a bundle's folder into a network.

    Raises:
        ModelError: kind "bundle": the file cannot be read, or belongs to another network.
    """
    with translate_read_errors(f"the weights in {folder / WEIGHTS}"):
        fill_network(network, load_file(folder / WEIGHTS))


def stored_once(network: nn.Module) -> dict[str, Tensor]:
    """Return the state dict (the tensors themselves) with tied tensors only under their first name."""
    unique: dict[int | str, tuple[str, Tensor]] = {}
    for name, tensor in network.state_dict().items():
        # Empty tensors all have address 0 without being the same.
        unique.setdefault(tensor.data_ptr() or name, (name, tensor))
    return dict(unique.values())


def network_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return copies (on the CPU) of all weights and buffers; a tensor with two names (tied) only once."""
    return {name: tensor.to("cpu", copy=True) for name, tensor in stored_once(network).items()}


def fill_network(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load the result of `network_tensors` into a network.

    Raises:
        ValueError: As `require_weights`.
    """
    require_weights(network, tensors)
    # The second name of a tied tensor is missing on purpose.
    network.load_state_dict(dict(tensors), strict=False)


def require_weights(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless the tensors are exactly those of a network, each of its shape."""
    shapes = {name: tuple(tensor.shape) for name, tensor in stored_once(network).items()}
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if shapes != given:
        name = min(set(shapes.items()) ^ set(given.items()))[0]
        there = given.get(name, "absent")
        here = shapes.get(name, "absent")
        raise ValueError(
            f"{name} is {there} there and {here} in the network: they do not fit its options"
        )
