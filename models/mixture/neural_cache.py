"""Add a continuous cache to a neural model: raise the words that followed earlier positions with similar features.

The stream itself is the memory: pairs of features h_i, which predicted token w_{i+1}, and that token. Before the next
token, with the features h_t and the last n pairs,

    p_cache(w | h_t)  =  Σ_{i : w_{i+1} = w} exp(θ h_t · h_i)  /  Σ_i exp(θ h_t · h_i)                     equation (3)
    p(w | h_t)        =  (1 − λ) p_static(w | h_t)  +  λ p_cache(w | h_t)                                equation (4)

E. Grave, A. Joulin and N. Usunier (2017), "Improving neural language models with a continuous cache", ICLR. With θ = 0
it is the unigram cache of `cache.py`. As in that cache, λ depends on the number of tokens remembered and is chosen by
EM. θ and n are the pair of candidates that makes held-out text most probable.

The features are those that the network's output layer reads. The network itself does not change. Given tokens (begin,
stars) are not remembered; the beginning of a document empties the memory. A stream's state takes n · E numbers at most,
and no more than it has read.

Shapes: see `models/base.py`; at most K tokens remembered, L = K + T.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..base import ModelError
from ..neural.lm import NeuralLM
from ..specs import NeuralCacheSpec
from .cache import NONE, CacheLM, CacheState
from .parts import Part

PAIRS = 1 << 22
"""Pairs of current and remembered features that are in memory at a time."""
WIDTH = 256
"""Positions compared at a time: their remembered tokens overlap."""


@dataclass(frozen=True)
class NeuralCacheState(CacheState):
    """The state of a cache with the features that predicted its tokens: row [b, k] predicted recent_BK[b, k]."""

    features_BKE: Tensor

    def take(self, rows: Sequence[int]) -> Self:
        """Return the state of the chosen streams, in the order given; a row may be taken more than once."""
        index = torch.as_tensor(list(rows), dtype=torch.long, device=self.features_BKE.device)
        recent_BK = self.recent_BK[np.asarray(rows, np.int64)]
        return type(self)(self.part.take(rows), recent_BK, self.features_BKE.index_select(0, index))

    @classmethod
    def join(cls, states: Sequence[Self]) -> Self:
        """Return one state of all streams, one after another; they may have read different numbers of tokens."""
        parts = [state.part for state in states]
        longest = max(state.recent_BK.shape[1] for state in states)
        pairs = [(state, longest - state.recent_BK.shape[1]) for state in states]
        recent = [np.pad(s.recent_BK, ((0, 0), (n, 0)), constant_values=NONE) for s, n in pairs]
        features = [F.pad(s.features_BKE, (0, 0, n, 0)) for s, n in pairs]
        return cls(type(parts[0]).join(parts), np.concatenate(recent), torch.cat(features))


class NeuralCacheLM(CacheLM):
    """A static neural model with a continuous cache on top.

    Args:
        spec: Candidates.
        part: The static model with its spec.
        weights_RP: 1 − λ and λ for each range of tokens remembered; see `models/mixture/cache.py`.
        theta: θ.
        window: n.

    Raises:
        ModelError: kind "input": the part is not a neural model.
    """

    adaptation = "continuous cache"

    def __init__(
        self,
        spec: NeuralCacheSpec,
        part: Part,
        weights_RP: np.ndarray,
        theta: float,
        window: int,
    ) -> None:
        if not isinstance(part.model, NeuralLM):
            kind = getattr(part.spec, "kind", type(part.model).__name__)
            raise ModelError(
                f"a continuous cache needs a neural model; the part '{part.name}' is of kind '{kind}'",
                "input",
            )

        self.network_model = part.model
        super().__init__(spec, part, weights_RP)  # type: ignore[arg-type]
        self.theta = float(theta)
        self.window = int(window)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns of an attribution."""
        return self.part.name, "continuous cache"

    def start(self, batch: int) -> NeuralCacheState:
        """Return the state of *batch* streams that remember nothing yet."""
        part = self.network_model.start(batch)
        return NeuralCacheState(
            part, np.zeros((batch, 0), np.int64), part.features_BE[:, None][:, :0]
        )

    def step(self, ids_B: np.ndarray, state: NeuralCacheState) -> tuple[Tensor, NeuralCacheState]:  # type: ignore[override]
        """Read one token of each stream; see `LanguageModel.step`.

        This adds O(K E) to the cost of the static model's step.
        """
        logp_BV, part = self.network_model.step(ids_B, state.part)
        memory = self._memory(
            np.asarray(ids_B, np.int64)[:, None], state.part.features_BE[:, None], state
        )
        after = self._after_reading(memory, part)
        remembered_BK = after.recent_BK != NONE
        score_BK = (
            self.theta * torch.einsum("be,bke->bk", part.features_BE, after.features_BKE).double()
        )
        shut_BK = torch.from_numpy(~remembered_BK).to(score_BK.device)
        # Where nothing is remembered all scores are −∞ and their softmax is NaN: the last mask removes that.
        share_BK = (
            torch.softmax(score_BK.masked_fill(shut_BK, -torch.inf), 1)
            .masked_fill(shut_BK, 0.0)
            .cpu()
            .numpy()
        )
        weights_BP = self._weights(remembered_BK.sum(1)[:, None])
        amount_BK = share_BK * weights_BP[:, 1:]
        return self._add_cache(logp_BV, weights_BP[:, 0], amount_BK, after.recent_BK), after

    def advance(self, ids_BT: np.ndarray, state: NeuralCacheState) -> NeuralCacheState:  # type: ignore[override]
        """Read T tokens of each stream without scoring them."""
        if not ids_BT.shape[1]:
            return state
        before_BTE, part = self.network_model.features(ids_BT, state.part)
        return self._after_reading(
            self._memory(np.asarray(ids_BT, np.int64), before_BTE, state), part
        )

    def evidence(  # type: ignore[override]
        self, ids_BT: np.ndarray, state: NeuralCacheState
    ) -> tuple[np.ndarray, np.ndarray, NeuralCacheState]:
        """Return −log p of static model and cache (B, T, 2), the tokens remembered (B, T, 1), and the state after."""
        static_BT, before_BTE, part = self.network_model.read(ids_BT, state.part)
        memory = self._memory(ids_BT, before_BTE, state)
        [nats_BT], number_BT = cache_nats(memory, before_BTE, [self.theta], self.window)
        nats_BT = np.where(number_BT > 0, nats_BT, static_BT)
        return (
            np.stack([static_BT, nats_BT], -1),
            number_BT[..., None],
            self._after_reading(memory, part),
        )

    def _memory(
        self,
        ids_BT: np.ndarray,
        before_BTE: Tensor,
        state: NeuralCacheState,
    ) -> CacheMemory:
        """Return the tokens remembered before and while these tokens are read."""
        ids_BL = np.concatenate([state.recent_BK, ids_BT], 1)
        features_BLE = torch.cat([state.features_BKE, before_BTE], 1)
        return CacheMemory(self._keys(ids_BL), self._since(ids_BL), features_BLE)

    def _after_reading(self, memory: CacheMemory, part: Any) -> NeuralCacheState:
        first = max(0, memory.keys_BL.shape[1] - self.window)
        forgotten_BL = np.arange(memory.keys_BL.shape[1]) < memory.since_BL[:, -1:]
        recent_BK = np.where(forgotten_BL, NONE, memory.keys_BL)[:, first:]
        features_BKE = memory.features_BLE[:, first:]
        # A view would keep the features of the whole text in memory; after a single token that is only one more.
        return NeuralCacheState(
            part, recent_BK, features_BKE.clone() if first > 1 else features_BKE
        )

    def facts(self) -> dict[str, Any]:
        """Return weights, θ and n as JSON values."""
        return {
            **super().facts(),
            "theta": self.theta,
            "window": self.window,
        }

    @classmethod
    def from_facts(
        cls,
        spec: Any,
        part: Part,
        weights_RP: np.ndarray,
        facts: dict[str, Any],
    ) -> Self:
        """Return the model for its saved facts: the weights, θ and n."""
        return cls(
            spec,
            part,
            weights_RP,
            facts["theta"],
            facts["window"],
        )


@dataclass(frozen=True)
class CacheMemory:
    """The tokens that T positions of B streams may look back at. Position t is at index K + t of L = K + T.

    Args:
        keys_BL: Ids; NONE for tokens that are never remembered.
        since_BL: For each position the first index that it remembers.
        features_BLE: Row [b, l] predicted keys_BL[b, l].
    """

    keys_BL: np.ndarray
    since_BL: np.ndarray
    features_BLE: Tensor


@torch.no_grad()
def cache_nats(
    memory: CacheMemory,
    query_BTE: Tensor,
    thetas: Sequence[float],
    window: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Compare the features of T positions with the remembered ones, some positions at a time.

    Args:
        memory: The tokens to look back at; L = K + T.
        query_BTE: Features of the positions.
        thetas: S values of θ.
        window: Number of tokens to look back at.

    Returns:
        −log p_cache of the token at each position (S, B, T), float64: infinite if that token is not remembered, NaN if
        no token is; and the number of tokens remembered there (B, T).
    """
    batch, tokens, _ = query_BTE.shape
    before = memory.keys_BL.shape[1] - tokens
    nats_SBT = np.zeros((len(thetas), batch, tokens))
    number_BT = np.zeros((batch, tokens), np.int64)
    width = max(1, min(WIDTH, PAIRS // max(1, batch * min(before + tokens, window + WIDTH))))
    for at in range(0, tokens, width):
        place_C = np.arange(before + at, before + min(at + width, tokens))
        place_M = np.arange(max(0, place_C[0] - window), place_C[-1])
        keys_BM = memory.keys_BL[:, place_M]
        distance_CM = place_C[:, None] - place_M
        known_BCM = (keys_BM != NONE)[:, None] & (place_M >= memory.since_BL[:, place_C][..., None])
        known_BCM &= (distance_CM > 0) & (distance_CM <= window)
        features_BME = memory.features_BLE[:, place_C[-1] - len(place_M) : place_C[-1]]
        likeness_BCM = torch.bmm(query_BTE[:, at : at + width], features_BME.transpose(1, 2))
        equal_BCM = keys_BM[:, None] == memory.keys_BL[:, place_C][..., None]
        same_BCM = torch.from_numpy(equal_BCM).to(likeness_BCM.device)
        shut_BCM = torch.from_numpy(~known_BCM).to(likeness_BCM.device)
        highest_BC1 = _highest(likeness_BCM, shut_BCM)
        number_BT[:, at : at + width] = known_BCM.sum(2)
        for nats_BT, theta in zip(nats_SBT, thetas, strict=True):
            same_BC, all_BC = _log_sums(
                theta,
                likeness_BCM - highest_BC1,
                highest_BC1[..., 0],
                shut_BCM,
                same_BCM,
            )
            with np.errstate(invalid="ignore"):
                nats_BT[:, at : at + width] = all_BC - same_BC

    return nats_SBT, number_BT


def _highest(likeness_BCM: Tensor, shut_BCM: Tensor) -> Tensor:
    """Return the highest similarity among entries that are not masked (B, C, 1), 0 where all are masked."""
    if not likeness_BCM.shape[2]:
        return likeness_BCM.new_zeros(*likeness_BCM.shape[:2], 1)
    highest_BC1 = likeness_BCM.masked_fill(shut_BCM, -torch.inf).amax(2, keepdim=True)
    return highest_BC1.masked_fill_(shut_BCM.all(2, keepdim=True), 0.0)


def _log_sums(
    theta: float,
    below_BCM: Tensor,
    highest_BC: Tensor,
    shut_BCM: Tensor,
    same_BCM: Tensor,
) -> tuple[np.ndarray, np.ndarray]:
    """Return log Σ exp(θ similarity) over equal tokens, and over all; (B, C) float64, −∞ where there is none.

    Args:
        theta: θ. No product overflows for any θ, since the highest similarity is subtracted before the multiplication.
        below_BCM: Similarity minus the highest one.
        highest_BC: The highest similarity that is not masked.
        shut_BCM: True for tokens that are not remembered.
        same_BCM: True for tokens equal to the one at the position.
    """
    weight_BCM = (theta * below_BCM).masked_fill_(shut_BCM, -torch.inf).exp_()
    all_BC = weight_BCM.sum(2)
    same_BC = (weight_BCM * same_BCM).sum(2)
    shift_BC = theta * highest_BC.double()
    same_BC, all_BC = (sum_BC.double().log() + shift_BC for sum_BC in (same_BC, all_BC))
    return same_BC.cpu().numpy(), all_BC.cpu().numpy()
