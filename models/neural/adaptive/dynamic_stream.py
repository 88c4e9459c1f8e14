"""Read a stream of text under dynamic evaluation (`dynamic.py`), segment by segment.

Shapes: see `models/base.py`; here one stream at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from ...tokens.vocabulary import BOS, CONTEXT_IDS
from ..lm import NeuralLM
from ..network import NetworkState, detach
from .dynamic_rule import DynamicRule, Weights, differentiable, gradients_of, targets_of, twin, use

NO_IDS = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Segment:
    """The current position of a stream: its weights, memory and partly read segment.

    Args:
        weights: The stream's own; None: the static ones.
        memory: The network's memory before the first of `ids`.
        ids: The tokens of the segment read so far: the last token of the segment before, and up to n − 1 after that.
    """

    weights: Weights | None
    memory: NetworkState
    ids: np.ndarray


@dataclass(frozen=True)
class Stream:
    """One stream: its position, and the tokens to read again to get there.

    Args:
        origin: The network's memory before the first of `history`, where the weights were the static ones.
        history: Ids read since then.
        segment: The position; None: find it by reading `history` again.
    """

    origin: NetworkState
    history: np.ndarray
    segment: Segment | None

    @classmethod
    def fresh(cls, memory: NetworkState) -> Stream:
        """Return a stream with the static weights, where the network has this memory."""
        return cls(memory, NO_IDS, Segment(None, memory, NO_IDS))


def _nowhere(count: int, segment: Segment | None) -> None:
    """Ignore the segment."""


class StreamReader:
    """Reader of streams, one at a time; all that differs between streams is in the `Stream`.

    Threads that call it at the same time take turns, since they share one network whose weights are replaced.

    Args:
        model: The static model; never changed.
        rule: Changes the weights after a segment.
        length: n, predicted tokens of a segment.
        across: Whether the beginning of a document leaves the weights as they are.
    """

    def __init__(self, model: NeuralLM, rule: DynamicRule, length: int, across: bool) -> None:
        self.model, self.rule, self.length, self.across = model, rule, length, across
        self.network, self.turn = twin(model.network), Lock()

    def start(self) -> Stream:
        """Return a stream before its first token."""
        return Stream.fresh(self.network.start(1, self.model.device))

    def read(self, ids_T: np.ndarray, stream: Stream) -> tuple[np.ndarray, Stream]:
        """Return −log p of each token (T,) float64, and the stream after them."""
        with self.turn:
            return self._read(ids_T, stream)

    def predictions(
        self, ids_T: np.ndarray, wanted_T: np.ndarray, stream: Stream
    ) -> tuple[list[tuple[np.ndarray, np.ndarray]], Stream]:
        """Read on; return positions (N,) with log p of every entry there (N, V) float32, segment by segment.

        Args:
            ids_T: Tokens.
            wanted_T: Wanted positions (bool); none of them opens a stream or a document.
            stream: Before these tokens.
        """
        found: list[tuple[np.ndarray, np.ndarray]] = []
        done = 0

        def look(count: int, segment: Segment | None) -> None:
            nonlocal done
            places_N, done = done + np.flatnonzero(wanted_T[done : done + count]), done + count
            if segment is not None and len(places_N):
                found.append((places_N, self._next_logp(segment, torch.from_numpy(places_N - done))))

        with self.turn:
            return found, self._read(ids_T, stream, look)[1]

    @torch.no_grad()
    def _next_logp(self, segment: Segment, rows_N: Tensor) -> np.ndarray:
        """Return log p (N, V) at the chosen tokens of a segment, counted from its end: −1 is the last one."""
        features_1TE, _ = self._forward(replace(segment, ids=segment.ids[:-1]))
        logp_NV: np.ndarray = self.network.output.logp(features_1TE[0, rows_N]).cpu().numpy()
        return logp_NV

    def _read(
        self, ids_T: np.ndarray, stream: Stream, look: Callable[[int, Segment | None], None] = _nowhere
    ) -> tuple[np.ndarray, Stream]:
        """Read tokens piece by piece; *look* is called for each piece before the weights learn from it.

        *look* gets the number of tokens of the piece, and the segment that ends with them. The segment is None for
        tokens that follow nothing.
        """
        segment = self._segment(stream)
        origin, history, nats = stream.origin, stream.history, []
        begins = NO_IDS if self.across else _begins(ids_T)
        for number, piece_T in enumerate(np.split(ids_T, begins)):
            if number:
                empty = int((piece_T == BOS).sum()) - 1
                look(empty, None)
                origin, history = self._memory_after(segment, empty), NO_IDS
                segment, piece_T = Segment(None, origin, NO_IDS), piece_T[empty:]
                nats.append(np.zeros(empty))
            piece_nats_T, segment = self._read_on(piece_T, segment, look)
            nats.append(piece_nats_T)
            history = np.concatenate([history, piece_T])
        return np.concatenate(nats), Stream(origin, history, segment)

    @torch.no_grad()
    def next_logp(self, stream: Stream) -> Tensor:
        """Return log p of the next token, (V,) float32; the stream has read at least one."""
        with self.turn:
            features_1TE, _ = self._forward(self._segment(stream))
            return self.network.output.logp(features_1TE[:, -1])[0]

    def _segment(self, stream: Stream) -> Segment:
        """Return the position of a stream; read its history again if needed."""
        if stream.segment is not None:
            return stream.segment
        return self._read_on(stream.history, Segment(None, stream.origin, NO_IDS))[1]

    def _read_on(
        self, ids_T: np.ndarray, segment: Segment, look: Callable[[int, Segment | None], None] = _nowhere
    ) -> tuple[np.ndarray, Segment]:
        """Read tokens that cross no document border; *look* as in `_read`."""
        nats_T, at, own = np.zeros(len(ids_T)), 0, False
        if not len(segment.ids) and len(ids_T):  # no token before it, so no gradient
            look(1, None)
            nats_T[:1], segment, at = self._first_nats(ids_T[:1]), replace(segment, ids=ids_T[:1]), 1
        while at < len(ids_T):
            end = min(len(ids_T), at + self.length + 1 - len(segment.ids))
            segment = replace(segment, ids=np.concatenate([segment.ids, ids_T[at:end]]))
            look(end - at, segment)
            if len(segment.ids) <= self.length:
                found_N = self._nats(segment)
            else:
                found_N, segment = self._learnt(segment, own)
                own = segment.weights is not None
            nats_T[at:end], at = found_N[at - end :], end
        return nats_T, segment

    @torch.no_grad()
    def _first_nats(self, ids_1: np.ndarray) -> np.ndarray:
        """Return −log p of the first token of a stream, which the output biases alone predict."""
        if ids_1[0] in CONTEXT_IDS:
            return np.zeros(1)
        use(self.network, self.rule.static)
        nothing_1E = torch.zeros_like(self.network.output.weight[:1])
        return _numpy(self.network.output.nats(nothing_1E, targets_of(self.model.ids_tensor(ids_1))))

    def _forward(self, segment: Segment) -> tuple[Tensor, NetworkState]:
        """Return the features after each token of a segment (1, T, E), and the network's memory after the last."""
        use(self.network, segment.weights or self.rule.static)
        found: tuple[Tensor, NetworkState] = self.network(self.model.ids_tensor(segment.ids)[None], segment.memory)
        return found

    @torch.no_grad()
    def _memory_after(self, segment: Segment, empty: int) -> NetworkState:
        """Return the network's memory after a segment and *empty* documents of a single `<bos>` each.

        Batches are padded with such documents. They are read in one pass, because one pass for each would be slow.
        """
        memory = self._forward(segment)[1] if len(segment.ids) else segment.memory
        return self._forward(Segment(None, memory, np.full(empty, BOS)))[1] if empty else memory

    @torch.no_grad()
    def _nats(self, segment: Segment) -> np.ndarray:
        """Return −log p of all tokens of a segment except its first."""
        features_1NE, _ = self._forward(replace(segment, ids=segment.ids[:-1]))
        return _numpy(self.network.output.nats(features_1NE[0], self._targets(segment)))

    def _learnt(self, segment: Segment, own: bool) -> tuple[np.ndarray, Segment]:
        """Return −log p of all tokens of a whole segment except its first, and the next segment with changed weights.

        Args:
            segment: One token and the n that follow it.
            own: The segment's weights are not shared and may be changed in place.
        """
        with differentiable():
            features_1NE, memory = self._forward(replace(segment, ids=segment.ids[:-1]))
            nats_N, gradients = gradients_of(self.network, features_1NE[0], self._targets(segment))
        weights = segment.weights
        if gradients is not None or weights is not None:  # without a gradient, static weights do not change
            weights = weights if own and weights else tuple(w.clone() for w in weights or self.rule.static)
            self.rule.apply(weights, gradients, self.length)
        return _numpy(nats_N), Segment(weights, detach(memory), segment.ids[-1:])

    def _targets(self, segment: Segment) -> Tensor:
        return targets_of(self.model.ids_tensor(segment.ids[1:]))


def _begins(ids_T: np.ndarray) -> np.ndarray:
    """Return the positions where documents begin; of several `<bos>` in a row only the first one."""
    is_begin_T = ids_T == BOS
    return np.flatnonzero(is_begin_T & ~np.concatenate([[False], is_begin_T[:-1]]))


def _numpy(nats_N: Tensor) -> np.ndarray:
    nats: np.ndarray = nats_N.double().cpu().numpy()
    return nats
