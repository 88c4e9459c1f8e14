"""Combine several language models into one, with the interface of `models/base.py`.

    linear        p  =  Σ_i λ_i p_i                     one weight per part                    weights.py
    gated         p  =  Σ_i λ_i(h) p_i                  weights that depend on the context     context_weights.py

The parts need only the interface and one common vocabulary. The state holds the states of all parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from ..base import (
    ModelError,
    Predictions,
    distributions,
    in_bulk,
    predictions,
    read_on,
    score_copies,
)
from ..log_sums import log_sum_of
from ..ngram.lm import NGramLM
from ..specs import MixtureSpec
from ..tokens.special import CONTEXT_IDS
from ..tokens.vocabulary import Vocabulary
from .context_weights import KEY, ContextWeights
from .parts import Part, load_parts, read_facts, save_parts, write_facts
from .weights import Attribution, Fixed, attribution_of, mixed_nats

FACTS = "mixture.json"
Weighting = Fixed | ContextWeights
"""Source of the weights of a mixture; they sum to 1 and do not depend on the next word."""


@dataclass(frozen=True)
class MixtureState:
    """The states of the parts."""

    parts: tuple[Any, ...]

    def take(self, rows: Sequence[int]) -> Self:
        """Return the state of the chosen streams, in the given order; a row may be chosen more than once."""
        return type(self)(tuple(part.take(rows) for part in self.parts))

    @classmethod
    def join(cls, states: Sequence[Self]) -> Self:
        """Return one state of all streams, one after another."""
        by_part = zip(*(state.parts for state in states), strict=True)
        return cls(tuple(type(columns[0]).join(columns) for columns in by_part))


class MixtureLM:
    """The mixture p = Σ λ_i p_i with weights that are fixed or depend on the context.

    Args:
        parts: At least one part; all have the same vocabulary.
        weighting: Source of the weights.
    """

    def __init__(self, parts: Sequence[Part], weighting: Weighting) -> None:
        self.parts = tuple(parts)
        self.weighting = weighting
        self.models = tuple(part.model for part in parts)
        self.vocabulary_size = self.models[0].vocabulary_size
        if {model.vocabulary_size for model in self.models} != {self.vocabulary_size}:
            sizes = ", ".join(f"{part.name} {part.model.vocabulary_size}" for part in parts)
            raise ModelError(
                f"the parts of a mixture must share one vocabulary; they have {sizes} entries",
                "input",
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parts, which are the columns of an attribution."""
        return tuple(part.name for part in self.parts)

    def start(self, batch: int) -> MixtureState:
        """Return the state of *batch* streams before their first token."""
        return MixtureState(tuple(model.start(batch) for model in self.models))

    def step(self, ids_B: np.ndarray, state: MixtureState) -> tuple[torch.Tensor, MixtureState]:
        """Read one token of each stream; see `LanguageModel.step`. Cost: the parts' steps plus O(V)."""
        pairs = [
            model.step(ids_B, part) for model, part in zip(self.models, state.parts, strict=True)
        ]
        states = tuple(after for _, after in pairs)
        mixed_BV = _mix([logp_BV for logp_BV, _ in pairs], self.weighting.following(states))
        return mixed_BV, MixtureState(states)

    def distributions(
        self, ids_BT: np.ndarray, state: MixtureState
    ) -> tuple[torch.Tensor, MixtureState]:
        """Read T tokens of each stream; see `models.base.distributions`."""
        pairs = []
        for model, part in zip(self.models, state.parts, strict=True):
            pairs.append(distributions(model, ids_BT, part))

        states = tuple(after for _, after in pairs)
        parts = len(pairs)
        before_BTP = np.broadcast_to(
            self.weighting.before(ids_BT, state.parts), (*ids_BT.shape, parts)
        )
        last_BP = np.broadcast_to(self.weighting.following(states), (len(ids_BT), parts))
        log_weights_BTP = np.concatenate([before_BTP[:, 1:], last_BP[:, None]], 1)
        each = [logp_BTV.flatten(0, 1) for logp_BTV, _ in pairs]
        mixed_NV = _mix(each, log_weights_BTP.reshape(ids_BT.size, parts))
        return mixed_NV.unflatten(0, ids_BT.shape), MixtureState(states)

    def advance(self, ids_BT: np.ndarray, state: MixtureState) -> MixtureState:
        """Read T tokens of each stream without scoring them."""
        states = zip(self.models, state.parts, strict=True)
        return MixtureState(tuple(read_on(model, ids_BT, part) for model, part in states))

    def score(self, ids_BT: np.ndarray, state: MixtureState) -> tuple[np.ndarray, MixtureState]:
        """Read T tokens of each stream; see `LanguageModel.score`. Cost: the parts' scores."""
        nats_BTP, log_weights_BTP, after = self._components(ids_BT, state)
        nats_BT = mixed_nats(nats_BTP, log_weights_BTP)
        nats_BT[np.isin(ids_BT, sorted(CONTEXT_IDS))] = 0.0
        return nats_BT, after

    def score_copies(
        self,
        ids_BT: np.ndarray,
        copies: int,
        state: MixtureState,
    ) -> tuple[np.ndarray, MixtureState]:
        """Score the T tokens of each text in several streams of it; see `models.base.score_copies`."""
        ids_NT = np.repeat(ids_BT, copies, axis=0)
        pairs = []
        for model, part in zip(self.models, state.parts, strict=True):
            pairs.append(score_copies(model, ids_BT, copies, part))

        nats_NTP = np.stack([nats_NT for nats_NT, _ in pairs], -1)
        log_weights_NTP = self.weighting.before(ids_NT, state.parts)
        nats_NT = mixed_nats(nats_NTP, log_weights_NTP)
        nats_NT[np.isin(ids_NT, sorted(CONTEXT_IDS))] = 0.0
        return nats_NT, MixtureState(tuple(after for _, after in pairs))

    def _components(
        self, ids_BT: np.ndarray, state: MixtureState
    ) -> tuple[np.ndarray, np.ndarray, MixtureState]:
        """Return −log p_i and log λ_i of each token (B, T, P), and the state after them."""
        pairs = [
            model.score(ids_BT, part) for model, part in zip(self.models, state.parts, strict=True)
        ]
        nats_BTP = np.stack([nats_BT for nats_BT, _ in pairs], -1)
        return (
            nats_BTP,
            self.weighting.before(ids_BT, state.parts),
            MixtureState(tuple(after for _, after in pairs)),
        )

    @property
    def in_bulk(self) -> bool:
        """Whether `predictions` may be called: one part predicts in bulk, and the others are n-gram models."""
        others = [model for model in self.models if not isinstance(model, NGramLM)]
        return len(others) == 1 and in_bulk(others[0])

    def predictions(self, ids_BT: np.ndarray, wanted_BT: np.ndarray) -> Iterator[Predictions]:
        """Yield the distributions at the wanted positions; see `models/base.py`.

        The part that is no n-gram model reads many positions at a time; n-gram models look up those that it yields.
        """
        log_weights_BTP = self.weighting.before(ids_BT, self.start(len(ids_BT)).parts)
        log_weights_BTP = np.broadcast_to(log_weights_BTP, (*ids_BT.shape, len(self.models)))
        [network] = (model for model in self.models if not isinstance(model, NGramLM))
        for batch in predictions(network, ids_BT, wanted_BT):
            text_N, position_N, logp_NV = batch
            log_weight_PN = torch.from_numpy(
                log_weights_BTP[text_N, position_N].T.astype(logp_NV.dtype)
            )
            parts = [
                model.distributions_at(ids_BT, text_N, position_N)
                if isinstance(model, NGramLM)
                else logp_NV
                for model in self.models
            ]
            mixed_NV = log_sum_of([torch.from_numpy(part_NV) for part_NV in parts], log_weight_PN)
            yield Predictions(text_N, position_N, mixed_NV.numpy())

    def attribute(
        self, ids_BT: np.ndarray, state: MixtureState
    ) -> tuple[Attribution, MixtureState]:
        """Score tokens and return the contribution of each part to each; see `mixture/weights.py`."""
        nats_BTP, log_weights_BTP, after = self._components(ids_BT, state)
        given_BT = np.isin(ids_BT, sorted(CONTEXT_IDS))
        return attribution_of(self.names, nats_BTP, log_weights_BTP, given_BT), after

    def save(self, folder: Path) -> None:
        """Write the weights into `mixture.json` and each part into its own subfolder."""
        write_facts(
            folder / FACTS, {**self.weighting.facts(), "parts": save_parts(folder, self.parts)}
        )

    @classmethod
    def load(
        cls,
        folder: Path,
        spec: MixtureSpec,
        vocabulary: Vocabulary,
        device: str = "cpu",
    ) -> Self:
        """Open a saved mixture with all its parts.

        Raises:
            ModelError: kind "bundle": a file is missing or damaged, or has no known weights, or weights of other parts.
        """
        facts = read_facts(Path(folder) / FACTS)
        parts = load_parts(Path(folder), facts["parts"], vocabulary, device)
        if KEY in facts:
            return cls(parts, ContextWeights.from_facts(parts, facts[KEY]))
        if "weights" in facts:
            return cls(parts, Fixed(np.array(facts["weights"])))
        raise ModelError(
            f"{FACTS} has no weights that this version can read: fit the mixture again", "bundle"
        )


def _mix(logp_PBV: Sequence[torch.Tensor], log_weights_BP: np.ndarray) -> torch.Tensor:
    """Return the logarithm of a mixture of distributions, on a GPU if one of them is there."""
    device = next(
        (logp_BV.device for logp_BV in logp_PBV if logp_BV.device.type != "cpu"),
        torch.device("cpu"),
    )
    there = [logp_BV.to(device) for logp_BV in logp_PBV]
    return log_sum_of(there, torch.from_numpy(log_weights_BP.T.copy()).to(there[0]))
