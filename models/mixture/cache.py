"""Mix a static model with a cache of the stream's last tokens, because words that occurred once often occur again.

    p(w | h)  =  λ_0 p_static(w | h)  +  Σ_k λ_k p_k(w | h),       k = 1 … n

    p_k(w | h)  =  c(v w) / c(v)      v: the last k − 1 tokens of h, counted in the last *window* tokens of the stream
                =  p_{k−1}(w | h)     if nothing followed v yet;  p_0 is the static model

So each p_k sums to 1, and p too. A cache of three words knows less than a cache of three hundred. So λ depends on the
number of remembered tokens: one set of weights for each range of `RANGES`, tuned by EM on held-out text. Given tokens
(begin, stars) are not remembered, and the begin of a document empties the cache.

This model adapts to the text that it is measured on. So its figures are shown under their own name, next to the static
model's figures, and never replace them.

Sources: R. Kuhn and R. De Mori (1990), "A cache-based natural language model for speech recognition", IEEE PAMI 12(6);
F. Jelinek, B. Merialdo, S. Roukos and M. Strauss (1991), "A dynamic language model for speech recognition" (n-grams in
the cache), DARPA Workshop on Speech and Natural Language.

Shapes: see `models/base.py`; K tokens are remembered at most, O = n orders of the cache, P = n + 1 components (static,
unigram, bigram …), R ranges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from ..base import ModelError, read_on
from ..specs import CacheSpec
from ..tokens.special import BOS, CONTEXT_IDS
from ..tokens.vocabulary import Vocabulary
from .parts import Part, load_parts, read_facts, save_parts, write_facts
from .weights import Attribution, attribution_of, mixed_nats

FACTS = "cache.json"
RANGES = (1, 9, 33, 129)
"""Where the ranges of the number of remembered tokens begin: 0, 1 to 8, 9 to 32, 33 to 128, more."""
LEAST_STATIC = 1e-3
"""Minimum weight of the static model, so that a word that is not in the cache stays possible."""
NONE = -1
"""Id of an empty place in the cache."""
PAIRS = 1 << 22
"""Maximum number of comparisons of a token with a remembered token in memory at a time."""


@dataclass(frozen=True)
class CacheState:
    """The static model's state, and the remembered ids (B, K), newest last; NONE for empty places."""

    part: Any
    recent_BK: np.ndarray

    @property
    def parts(self) -> tuple[Any, ...]:
        """The states of its parts: only the static model's."""
        return (self.part,)

    def take(self, rows: Sequence[int]) -> Self:
        """Return the state of the chosen streams, in the given order; a row may be chosen more than once."""
        return type(self)(self.part.take(rows), self.recent_BK[np.asarray(rows, np.int64)])

    @classmethod
    def join(cls, states: Sequence[Self]) -> Self:
        """Return one state of all streams, one after another."""
        parts = [state.part for state in states]
        return cls(
            type(parts[0]).join(parts), np.concatenate([state.recent_BK for state in states])
        )


class CacheLM:
    """A static model with a cache of n-grams.

    Args:
        spec: Order and window of the cache.
        part: The static model with its spec.
        weights_RP: λ for each range of `RANGES`: static, unigram cache, bigram cache …
    """

    adaptation = "cache"
    """How it adapts to the text, see `models.base.adaptation_of`."""

    def __init__(
        self,
        spec: CacheSpec,
        part: Part,
        weights_RP: np.ndarray,
    ) -> None:
        self.spec = spec
        self.part = part
        self.model = part.model
        self.weights_RP = np.asarray(weights_RP, np.float64)
        self.vocabulary_size = self.model.vocabulary_size
        self._given = sorted(CONTEXT_IDS)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The models that it combines: only the static model."""
        return (self.part,)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns of an attribution."""
        return (self.part.name, *(f"{k}-gram cache" for k in range(1, self.spec.order + 1)))

    def start(self, batch: int) -> CacheState:
        """Return the state of *batch* streams with empty caches."""
        return CacheState(
            self.model.start(batch), np.full((batch, self.spec.window), NONE, np.int64)
        )

    def step(self, ids_B: np.ndarray, state: CacheState) -> tuple[torch.Tensor, CacheState]:
        """Read one token of each stream; see `LanguageModel.step`. Cost: the static model's step plus O(K)."""
        logp_BV, part = self.model.step(ids_B, state.part)
        recent_BK = self._after(
            np.concatenate([state.recent_BK, np.asarray(ids_B, np.int64)[:, None]], 1)
        )
        return self._mix(logp_BV, recent_BK), CacheState(part, recent_BK)

    def _mix(self, logp_BV: torch.Tensor, recent_BK: np.ndarray) -> torch.Tensor:
        """Return the static distribution mixed with the cache: only the few remembered words need an update."""
        matches = matches_of(recent_BK, self.spec.order)
        numbers = [match_BK.sum(1) for match_BK in matches]
        number_BP = np.stack([np.ones(len(recent_BK)), *numbers], 1)
        weights_BP = self._weights(number_BP[:, 1:])
        amount_BK = np.zeros(recent_BK.shape)
        for k, match_BK in enumerate(matches, start=1):
            share_B = weights_BP[:, k] / np.maximum(number_BP[:, k], 1)
            amount_BK += match_BK * share_B[:, None]

        return self._add_cache(logp_BV, weights_BP[:, 0], amount_BK, recent_BK)

    def _add_cache(
        self,
        logp_BV: torch.Tensor,
        static_B: np.ndarray,
        amount_BK: np.ndarray,
        recent_BK: np.ndarray,
    ) -> torch.Tensor:
        """Return log(static_B · p + amount_BK at the remembered tokens recent_BK), (B, V).

        N remembered tokens have an amount, and M entries of (B, V) get one: a token may be remembered several times.
        """
        mixed_BV = logp_BV + torch.from_numpy(np.log(static_B[:, None])).to(logp_BV)
        stream_N, place_N = np.nonzero(amount_BK)
        if not len(stream_N):
            return mixed_BV

        entry_N = stream_N * self.vocabulary_size + recent_BK[stream_N, place_N]
        entry_M, number_N = np.unique(entry_N, return_inverse=True)
        amount_M = np.bincount(number_N, weights=amount_BK[stream_N, place_N])
        log_amount_M = torch.from_numpy(np.log(amount_M)).to(logp_BV)
        flat = mixed_BV.view(-1)
        entries = torch.from_numpy(entry_M).to(logp_BV.device)
        flat[entries] = torch.logaddexp(flat[entries], log_amount_M)
        return mixed_BV

    def advance(self, ids_BT: np.ndarray, state: CacheState) -> CacheState:
        """Read T tokens of each stream without scoring them."""
        ids_BL = np.concatenate([state.recent_BK, np.asarray(ids_BT, np.int64)], 1)
        return CacheState(read_on(self.model, ids_BT, state.part), self._after(ids_BL))

    def score(self, ids_BT: np.ndarray, state: CacheState) -> tuple[np.ndarray, CacheState]:
        """Read T tokens of each stream; see `LanguageModel.score`. Compares each token with the K before it."""
        nats_BTP, log_weights_BTP, after = self._components(np.asarray(ids_BT, np.int64), state)
        nats_BT = mixed_nats(nats_BTP, log_weights_BTP)
        nats_BT[np.isin(ids_BT, self._given)] = 0.0
        return nats_BT, after

    def attribute(self, ids_BT: np.ndarray, state: CacheState) -> tuple[Attribution, CacheState]:
        """Return the contributions of the static model and each order of the cache; see `mixture/weights.py`."""
        nats_BTP, log_weights_BTP, after = self._components(np.asarray(ids_BT, np.int64), state)
        return attribution_of(
            self.names, nats_BTP, log_weights_BTP, np.isin(ids_BT, self._given)
        ), after

    def _components(
        self, ids_BT: np.ndarray, state: CacheState
    ) -> tuple[np.ndarray, np.ndarray, CacheState]:
        """Return −log p_k and log λ_k of each token (B, T, P), and the state after them."""
        nats_BTP, number_BTO, after = self.evidence(ids_BT, state)
        with np.errstate(divide="ignore"):
            return nats_BTP, np.log(self._weights(number_BTO)), after

    def _weights(self, number: np.ndarray) -> np.ndarray:
        """Return λ_k (…, P) for this number of matching remembered tokens of each order (…, n).

        An order without matching tokens gives the same p as the order below, so its weight is added to that order. An
        empty cache has weight 0.
        """
        weights = self.weights_RP[range_of(number[..., 0])]
        for k in range(self.spec.order, 0, -1):
            moved = np.where(number[..., k - 1] == 0, weights[..., k], 0.0)
            weights[..., k - 1] += moved
            weights[..., k] -= moved
        return weights

    def evidence(
        self, ids_BT: np.ndarray, state: CacheState
    ) -> tuple[np.ndarray, np.ndarray, CacheState]:
        """Return −log p_k of each token (B, T, P), c(v) for k = 1 … n (B, T, n), and the state after all tokens."""
        static_BT, part = self.model.score(ids_BT, state.part)
        ids_BL = np.concatenate([state.recent_BK, ids_BT], 1)
        seen_OBT, number_OBT = counts(
            self._keys(ids_BL), self._since(ids_BL), self.spec.window, self.spec.order
        )
        nats_PBT = [static_BT]
        for seen_BT, number_BT in zip(seen_OBT, number_OBT, strict=True):
            with np.errstate(divide="ignore", invalid="ignore"):
                nats_PBT.append(np.where(number_BT > 0, -np.log(seen_BT / number_BT), nats_PBT[-1]))

        return (
            np.stack(nats_PBT, -1),
            np.stack(number_OBT, -1),
            CacheState(part, self._after(ids_BL)),
        )

    def _keys(self, ids_BL: np.ndarray) -> np.ndarray:
        """Return the ids with NONE for ids that are never remembered."""
        return np.where(np.isin(ids_BL, self._given), NONE, ids_BL)

    def _since(self, ids_BL: np.ndarray) -> np.ndarray:
        """Return for each position the first position that it may remember: the begin of its document."""
        return np.maximum.accumulate(np.where(ids_BL == BOS, np.arange(ids_BL.shape[1]), 0), axis=1)

    def _after(self, ids_BL: np.ndarray) -> np.ndarray:
        """Return the K ids that are remembered after reading all of *ids_BL*."""
        first = ids_BL.shape[1] - self.spec.window
        keys_BL = self._keys(ids_BL)
        since_B1 = self._since(ids_BL)[:, -1:]
        return np.where(np.arange(ids_BL.shape[1]) < since_B1, NONE, keys_BL)[:, first:]

    def facts(self) -> dict[str, Any]:
        """Return the tuned numbers as JSON values."""
        return {"weights": self.weights_RP.tolist()}

    @classmethod
    def from_facts(
        cls,
        spec: Any,
        part: Part,
        weights_RP: np.ndarray,
        facts: dict[str, Any],
    ) -> Self:
        """Return the model for its saved facts, the weights among them; a subclass reads further ones."""
        return cls(spec, part, weights_RP)

    def save(self, folder: Path) -> None:
        """Write the tuned numbers into `cache.json` and the static model into a subfolder."""
        write_facts(folder / FACTS, {**self.facts(), "parts": save_parts(folder, [self.part])})

    @classmethod
    def load(
        cls,
        folder: Path,
        spec: Any,
        vocabulary: Vocabulary,
        device: str = "cpu",
    ) -> Self:
        """Open a saved model and the static model in it.

        Raises:
            ModelError: kind "bundle": a file is missing or damaged, or the weights do not fit the spec.
        """
        facts = read_facts(Path(folder) / FACTS)
        weights_RP = np.array(facts["weights"], np.float64)
        if weights_RP.shape != (len(RANGES) + 1, spec.order + 1):
            raise ModelError(
                f"{folder} holds cache weights {weights_RP.shape} for order {spec.order}", "bundle"
            )
        return cls.from_facts(
            spec, load_parts(Path(folder), facts["parts"], vocabulary, device)[0], weights_RP, facts
        )


def range_of(number: np.ndarray) -> np.ndarray:
    """Return the index of the range of `RANGES` that contains a number of remembered tokens."""
    return np.searchsorted(RANGES, number, side="right")


def matches_of(recent_BK: np.ndarray, order: int) -> list[np.ndarray]:
    """Return for k = 1 … n which remembered tokens followed the last k − 1 tokens of the stream; (B, K) bool."""
    match_BK = recent_BK != NONE
    matches = [match_BK]
    for back in range(1, order):
        newest_B1 = recent_BK[:, recent_BK.shape[1] - back, None]
        before_BK = np.full_like(recent_BK, NONE)
        before_BK[:, back:] = recent_BK[:, : recent_BK.shape[1] - back]
        match_BK = match_BK & (before_BK == newest_B1) & (newest_B1 != NONE)
        matches.append(match_BK)
    return matches


def counts(
    keys_BL: np.ndarray,
    since_BL: np.ndarray,
    window: int,
    order: int,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Count each of the last T tokens, L = K + T, in the K tokens before it; by blocks of C tokens, W = B · C in all.

    Returns:
        For k = 1 … n: how often the token followed its last k − 1 tokens there, and how often any token did; (B, T).
    """
    batch, length = keys_BL.shape
    tokens = length - window
    seen, number = (np.zeros((order, batch, tokens)) for _ in range(2))
    width = max(1, PAIRS // max(1, batch * window))
    windows_BSK = sliding_window_view(keys_BL, window, axis=1)
    for first in range(0, tokens, width):
        block = slice(first, min(first + width, tokens))
        start_C = np.arange(block.start, block.stop)
        # Tokens before the document's begin are not remembered.
        hidden_BCK = start_C[:, None] + np.arange(window) < since_BL[:, start_C + window, None]
        recent_WK = np.where(hidden_BCK, NONE, windows_BSK[:, block]).reshape(-1, window)
        target_W1 = keys_BL[:, start_C + window].reshape(-1, 1)
        for k, match_WK in enumerate(matches_of(recent_WK, order)):
            number[k, :, block] = match_WK.sum(1).reshape(batch, -1)
            seen[k, :, block] = (match_WK & (recent_WK == target_W1)).sum(1).reshape(batch, -1)

    return list(seen), list(number)
