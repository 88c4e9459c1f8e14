"""Implement the language-model protocol of `models/base.py` for any `Network`, once for all neural kinds.

A network's features after token t predict token t + 1. So the state carried between calls holds the network's memory
and the features of the last token read; then a text can be cut anywhere. Before the first token the features are 0,
and the output biases alone make the prediction.
Shape legend: see `models/base.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from ..atomic_files import save_tensors
from ..base import ENTRIES, ModelError, Predictions
from ..specs import NPLMSpec, RecurrentSpec
from ..tokens.special import STARS
from .architectures import NPLMNetwork, RecurrentNetwork
from .device import POSITIONS, out_of_memory, require_device
from .inference.copies import FEWEST, CopiesReader
from .inference.reader import AdaptiveLogp, LSTMReader, Reader, SoftmaxLogp, reader_for
from .network import Network, NetworkState, fill_from, join, require_weights_for, stored_once, take
from .output import CONTEXT_IDS, NOT_SCORED
from .spec import WEIGHTS

if TYPE_CHECKING:
    from ..tokens.vocabulary import Vocabulary

NeuralSpec = RecurrentSpec | NPLMSpec


@dataclass(frozen=True)
class NeuralState:
    """The state of B streams: the network's memory, and the features of the last token read."""

    network: NetworkState
    features_BE: Tensor

    def take(self, rows: Sequence[int]) -> NeuralState:
        """Return the chosen streams, in the order given; a row may be taken more than once."""
        index = torch.as_tensor(list(rows), dtype=torch.long, device=self.features_BE.device)
        return NeuralState(take(self.network, rows), self.features_BE.index_select(0, index))

    @classmethod
    def join(cls, states: Sequence[NeuralState]) -> NeuralState:
        """Return one state of all streams, one after another."""
        features_BE = torch.cat([state.features_BE for state in states])
        return cls(join([state.network for state in states]), features_BE)


class NeuralLM:
    """A fitted neural language model, of the kinds "rnn", "gru", "lstm" and "nplm".

    Scoring is in float32 for every number format of training. The same text gets the same nats (to about 1e-6) in any
    batch and for any way of cutting it.

    Args:
        spec: The options the network was built from.
        network: On its device; put into evaluation mode here.
        vocabulary_size: V.

    Attributes:
        normalised: Whether steps give log p itself, not log p plus a number (`with_reader`).
    """

    def __init__(
        self,
        spec: NeuralSpec,
        network: Network,
        vocabulary_size: int,
    ) -> None:
        self.spec = spec
        self.network = network.eval()
        self.vocabulary_size = vocabulary_size
        self.device = next(network.parameters()).device
        self.normalised = True

    @staticmethod
    def build(spec: NeuralSpec, unigram_counts_V: Tensor) -> Network:
        """Return the network that *spec* describes, with new random weights from torch's current random stream."""
        if isinstance(spec, NPLMSpec):
            return NPLMNetwork(spec, unigram_counts_V)
        return RecurrentNetwork(spec, unigram_counts_V)

    def start(self, batch: int) -> NeuralState:
        """Return the state of *batch* streams before their first token."""
        features_BE = torch.zeros(batch, self.network.output.weight.shape[1], device=self.device)
        return NeuralState(self.network.start(batch, self.device), features_BE)

    @torch.no_grad()
    def step(self, ids_B: np.ndarray, state: NeuralState) -> tuple[Tensor, NeuralState]:
        """Read one token of each stream; see `LanguageModel.step`.

        On the CPU, a stream's result is the same to the bit in any batch (`inference/reader.py`). The weights are
        packed at the first call; they must not change afterwards.
        """
        logp_B1V, state = self.distributions(np.asarray(ids_B)[:, None], state)
        return logp_B1V[:, 0], state

    @torch.no_grad()
    def distributions(self, ids_BT: np.ndarray, state: NeuralState) -> tuple[Tensor, NeuralState]:
        """Read T tokens of each stream; see `models.base.distributions`."""
        reader = self.reader
        read_BT = self.ids_tensor(ids_BT)
        logp: Callable[[Tensor], Tensor]
        if reader is None:
            features_BTE, network = self.network(read_BT, state.network)
            logp = self.network.output.logp
        else:
            features_BTE, network = reader.read(read_BT, state.network)
            logp = reader.logp

        logp_BTV = logp(features_BTE.flatten(0, 1)).unflatten(0, ids_BT.shape)
        last_BE = features_BTE[:, -1]
        return logp_BTV, NeuralState(network, last_BE if ids_BT.shape[1] == 1 else last_BE.clone())

    @torch.no_grad()
    def advance(self, ids_BT: np.ndarray, state: NeuralState) -> NeuralState:
        """Read T tokens of each stream without scoring them; the same to the bit as T steps."""
        if ids_BT.shape[1]:
            return self.features(ids_BT, state)[1]
        return state

    @property
    def scores_steps(self) -> bool:
        """Whether `score_steps` and `next_logp` may be called."""
        return self.reader is not None and isinstance(self.reader.logp, AdaptiveLogp | SoftmaxLogp)

    @torch.no_grad()
    def score_steps(self, ids_BT: np.ndarray, state: NeuralState) -> tuple[np.ndarray, NeuralState]:
        """Read T tokens of each stream, T at least 1; return −log p of each (B, T), and the state after them.

        Unlike `score`, the result does not depend on the batch nor on where the text is cut, to the bit. Given tokens
        are impossible.
        """
        before_BTE, after = self.features(ids_BT, state)
        nats_BT = np.full(ids_BT.shape, np.inf, np.float32)
        predicted_BT = ~np.isin(ids_BT, CONTEXT_IDS)
        features_NE = before_BTE.flatten(0, 1)
        if not predicted_BT.all():
            features_NE = before_BTE[torch.from_numpy(predicted_BT)]
        logp: Any = cast(Reader, self.reader).logp
        nats_BT[predicted_BT] = logp.nats(features_NE, ids_BT[predicted_BT])
        return nats_BT.astype(np.float64), after

    @torch.no_grad()
    def next_logp(self, state: NeuralState) -> Tensor:
        """Return log p of every next token (B, V), the same to the bit as the step gave that ended in this state."""
        return cast(Reader, self.reader).logp(state.features_BE)

    @torch.no_grad()
    def features(self, ids_BT: np.ndarray, state: NeuralState) -> tuple[Tensor, NeuralState]:
        """Return the features that predict each of T tokens, T at least 1, and the state after them."""
        reader = self.reader
        return self._features(
            self.ids_tensor(ids_BT), state, self.network if reader is None else reader.read
        )

    @cached_property
    def reader(self) -> Reader | None:
        """The network packed for steps; None where that is not done (GPU, normalised cells)."""
        return reader_for(self.network)

    def in_int8(self, normalise: bool) -> Self | None:
        """Return a model of this network with steps in int8; see `reviewlm.models.bundles.bundle.in_int8`."""
        from .inference.int8 import int8_reader

        reader = int8_reader(self.network, normalise)
        if reader is None:
            return None
        return self.with_reader(reader)

    def with_reader(self, reader: Reader) -> Self:
        """Return a model that shares this one's weights, but whose steps use another reader."""
        other = copy(self)
        other.reader = reader
        other.normalised = reader.normalised
        return other

    @torch.no_grad()
    def score(self, ids_BT: np.ndarray, state: NeuralState) -> tuple[np.ndarray, NeuralState]:
        """Read T tokens of each stream; see `LanguageModel.score`. Memory does not grow with T."""
        nats_BT = np.zeros(ids_BT.shape)
        width = self._width(len(ids_BT))
        for begin in range(0, ids_BT.shape[1], width):
            part = slice(begin, begin + width)
            nats_BT[:, part], _, state = self.read(ids_BT[:, part], state)
        return nats_BT, state

    @torch.no_grad()
    def score_copies(
        self,
        ids_BT: np.ndarray,
        copies: int,
        state: NeuralState,
    ) -> tuple[np.ndarray, NeuralState]:
        """Score the T tokens of each text in several streams of it; see `models.base.score_copies`."""
        reader = self._copies_reader
        few = copies * len(ids_BT) < FEWEST
        if reader is None or few or np.isin(ids_BT, STARS).any():
            return self.score(np.repeat(ids_BT, copies, axis=0), state)

        self.ids_tensor(ids_BT)  # refuses unknown ids
        nats_NT = np.zeros((len(ids_BT) * copies, ids_BT.shape[1]))
        width = self._width(len(nats_NT))
        for begin in range(0, ids_BT.shape[1], width):
            part = slice(begin, begin + width)
            nats_NT[:, part], state = _read_copies(reader, ids_BT[:, part], copies, state)
        return nats_NT, state

    @cached_property
    def _copies_reader(self) -> CopiesReader | None:
        """The network packed for copies; None where that is not done, such as for steps in int8."""
        return CopiesReader(self.reader) if type(self.reader) is LSTMReader else None

    @torch.no_grad()
    def read(
        self, ids_BT: np.ndarray, state: NeuralState
    ) -> tuple[np.ndarray, Tensor, NeuralState]:
        """Score T tokens of each stream in one piece, and also return the features that predicted them.

        Returns:
            nats_BT, features_BTE (row [b, t] has read ids[b, :t], not its own token), and the state after all T tokens.
        """
        if not ids_BT.shape[1]:
            return np.zeros(ids_BT.shape), state.features_BE[:, None][:, :0], state
        read_BT = self.ids_tensor(ids_BT)
        before_BTE, state = self._features(read_BT, state)
        given_BT = torch.isin(read_BT, torch.tensor(CONTEXT_IDS, device=self.device))
        targets_N = read_BT.masked_fill(given_BT, NOT_SCORED).flatten()
        nats_N = self.network.output.nats(before_BTE.flatten(0, 1), targets_N)
        return nats_N.view_as(read_BT).double().cpu().numpy(), before_BTE, state

    @torch.no_grad()
    def predictions(self, ids_BT: np.ndarray, wanted_BT: np.ndarray) -> Iterator[Predictions]:
        """Yield the distributions at the wanted positions; see `models/base.py`.

        The network reads many positions at a time; the output layer runs only at the wanted ones.
        """
        reader = self.reader
        rows = max(1, ENTRIES // self.vocabulary_size)
        logp = self.network.output.logp if reader is None else reader.logp
        state = self.start(len(ids_BT))
        width = self._width(len(ids_BT))
        for begin in range(0, ids_BT.shape[1], width):
            part = slice(begin, begin + width)
            before_BTE, state = self._features(self.ids_tensor(ids_BT[:, part]), state)
            text_N, position_N = np.nonzero(wanted_BT[:, part])
            features_NE = before_BTE[text_N, position_N]
            del before_BTE
            for first in range(0, len(text_N), rows):
                some = slice(first, first + rows)
                yield Predictions(
                    text_N[some], begin + position_N[some], logp(features_NE[some]).cpu().numpy()
                )

    def _width(self, batch: int) -> int:
        """Return how many tokens of each stream are read at a time while scoring."""
        return max(1, POSITIONS[self.device.type] // max(1, batch))

    def _features(
        self,
        read_BT: Tensor,
        state: NeuralState,
        read: Callable[..., tuple[Tensor, NetworkState]] | None = None,
    ) -> tuple[Tensor, NeuralState]:
        """Return the features that predict each of T tokens (B, T, E), T at least 1, and the state after them."""
        after_BTE, network = (read or self.network)(read_BT, state.network)
        before_BTE = torch.cat([state.features_BE[:, None], after_BTE[:, :-1]], 1)
        # A copy: a view would keep the features of all T tokens for as long as the state is kept.
        return before_BTE, NeuralState(network, after_BTE[:, -1].clone())

    def ids_tensor(self, ids: np.ndarray) -> Tensor:
        """Return ids as an int64 tensor on the model's device; refuse ids that are not in the vocabulary."""
        ids = np.ascontiguousarray(ids, dtype=np.int64)
        # As unsigned numbers, negative ids are the largest: one pass instead of two.
        if ids.size and ids.view(np.uint64).max() >= self.vocabulary_size:
            limits = f"this model knows 0 to {self.vocabulary_size - 1}"
            raise ModelError(f"token ids go from {ids.min()} to {ids.max()}; {limits}", "input")
        return torch.from_numpy(ids).to(self.device)

    def save(self, folder: Path) -> None:
        """Write all weights and the output layer's buffers to `weights.safetensors`; shared weights only once."""
        tensors = {
            name: tensor.cpu().contiguous() for name, tensor in stored_once(self.network).items()
        }
        save_tensors(save_file, tensors, folder / WEIGHTS)

    @classmethod
    def load(
        cls,
        folder: Path,
        spec: NeuralSpec,
        vocabulary: Vocabulary,
        device: str = "cpu",
    ) -> Self:
        """Build the network of *spec* and fill in the saved weights.

        Raises:
            ModelError: kind "bundle": the file is missing or damaged, or belongs to another spec or vocabulary; kind
                "input": the device does not exist.
        """
        require_device(device)
        require_weights_for(spec, vocabulary.size, folder / WEIGHTS)
        with out_of_memory(spec.name, device), torch.random.fork_rng(devices=[]):
            network = cls.build(spec, torch.ones(vocabulary.size, dtype=torch.int64))
            fill_from(network, folder)
            return cls(spec, network.to(device), vocabulary.size)


def _read_copies(
    reader: CopiesReader,
    ids_BT: np.ndarray,
    copies: int,
    state: NeuralState,
) -> tuple[np.ndarray, NeuralState]:
    """Return −log p of T tokens in several streams of each text (N, T), 0 for given ones, and the state after them."""
    after_TNE, network = reader.read(ids_BT, copies, state.network)
    before_TNE = torch.cat([state.features_BE[None], after_TNE[:-1]])
    targets_M = np.repeat(ids_BT.T, copies, axis=1).ravel()
    scored_K = np.flatnonzero(~np.isin(targets_M, CONTEXT_IDS))
    features_ME = before_TNE.flatten(0, 1)
    if len(scored_K) < len(targets_M):
        features_ME = features_ME[torch.from_numpy(scored_K)]

    nats_M = np.zeros(len(targets_M))
    nats_M[scored_K] = reader.nats(features_ME, targets_M[scored_K])
    nats_NT = nats_M.reshape(before_TNE.shape[:2]).T
    return nats_NT, NeuralState(network, after_TNE[-1].clone())


def networks_in(
    model: Any,
    name: str = "",
    spec: Any = None,
) -> Iterator[tuple[str, Any, NeuralLM]]:
    """Yield name, options and model of every network that a model (of this name, with these options) is or combines."""
    if isinstance(model, NeuralLM):
        yield name, spec, model
        return
    for part in getattr(model, "parts", ()):
        yield from networks_in(part.model, part.name, part.spec)
