"""Combine several language models into one, with the interface of `models/base.py`: base class and linear mixtures.

    linear        p  =  Σ_i λ_i p_i                     one weight per part                    weights.py
    gated         p  =  Σ_i λ_i(h) p_i                  weights that depend on the context     context_weights.py
    log-linear    p  =  Π_i p_i^{a_i} / Z(h)            normalised over the vocabulary         log_linear_lm.py

The parts need only the interface and one common vocabulary. The state holds the states of all parts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch

from ..base import FitContext, FitResult, ModelError, read_on
from ..log_sums import log_sum_of
from ..ngram.lm import NGramLM
from ..predictions import FirstEntries, Predictions, in_bulk, predictions, stepped_first
from ..streams import TokenStream
from ..tokens.vocabulary import CONTEXT_IDS, Vocabulary
from .attribution import Attribution, attribution_of
from .parts import Part, load_parts, open_parts, read_facts, save_parts, write_facts
from .spec import MixtureSpec
from .weights import Fixed, mixed_nats

FACTS = "mixture.json"


@dataclass(frozen=True)
class MixtureState:
    """The states of the parts, and log Z of the next token (B,), which only a log-linear mixture needs (else None).

    Before the first token, log Z is not known (NaN).
    """

    parts: tuple[Any, ...]
    log_z_B: np.ndarray | None = None

    def take(self, rows: Sequence[int]) -> Self:
        """Return the state of the chosen streams, in the given order; a row may be chosen more than once."""
        log_z_B = None if self.log_z_B is None else self.log_z_B[np.asarray(rows, np.int64)]
        return type(self)(tuple(part.take(rows) for part in self.parts), log_z_B)

    @classmethod
    def join(cls, states: Sequence[Self]) -> Self:
        """Return one state of all streams, one after another."""
        parts = tuple(type(columns[0]).join(columns) for columns in zip(*(s.parts for s in states), strict=True))
        log_z = [state.log_z_B for state in states if state.log_z_B is not None]
        return cls(parts, np.concatenate(log_z) if log_z else None)  # states of one mixture: all have log Z, or none


class Weighting(Protocol):
    """Source of the weights of a linear mixture; they sum to 1 and do not depend on the next word."""

    def before(self, ids_BT: np.ndarray, states: Sequence[Any]) -> np.ndarray:
        """Return log λ before each token (B, T, P), or an array that broadcasts to this shape.

        Args:
            ids_BT: The tokens to read.
            states: States of the parts before the first token.
        """
        ...

    def following(self, states: Sequence[Any]) -> np.ndarray:
        """Return log λ for the next token (B, P), or an array that broadcasts to this shape."""
        ...

    def facts(self) -> dict[str, Any]:
        """Return everything to save, as JSON values."""
        ...


class MixtureLM(ABC):
    """Base class of all methods. `fit` and `load` return the subclass of the spec's method.

    Args:
        parts: At least one part; all have the same vocabulary.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)
        self.models = tuple(part.model for part in parts)
        self.vocabulary_size = self.models[0].vocabulary_size
        if {model.vocabulary_size for model in self.models} != {self.vocabulary_size}:
            sizes = ", ".join(f"{part.name} {part.model.vocabulary_size}" for part in parts)
            raise ModelError(f"the parts of a mixture must share one vocabulary; they have {sizes} entries", "input")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parts, which are the columns of an attribution."""
        return tuple(part.name for part in self.parts)

    def start(self, batch: int) -> MixtureState:
        """Return the state of *batch* streams before their first token."""
        return MixtureState(tuple(model.start(batch) for model in self.models))

    @abstractmethod
    def step(self, ids_B: np.ndarray, state: MixtureState) -> tuple[torch.Tensor, MixtureState]:
        """Read one token of each stream; see `LanguageModel.step`."""

    @abstractmethod
    def score(self, ids_BT: np.ndarray, state: MixtureState) -> tuple[np.ndarray, MixtureState]:
        """Read T tokens of each stream; see `LanguageModel.score`."""

    def advance(self, ids_BT: np.ndarray, state: MixtureState) -> MixtureState:
        """Read T tokens of each stream without scoring them."""
        states = zip(self.models, state.parts, strict=True)
        return MixtureState(tuple(read_on(model, ids_BT, own) for model, own in states))

    @abstractmethod
    def attribute(self, ids_BT: np.ndarray, state: MixtureState) -> tuple[Attribution, MixtureState]:
        """Score tokens and return the contribution of each part to each; see `mixture/attribution.py`."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Return the weights as JSON values."""

    @classmethod
    @abstractmethod
    def from_facts(cls, parts: Sequence[Part], facts: dict[str, Any]) -> MixtureLM:
        """Return the mixture that `facts` describes."""

    def _read(self, ids_BT: np.ndarray, state: MixtureState) -> tuple[np.ndarray, tuple[Any, ...]]:
        """Return −log p_i of each token (B, T, P), and the parts' states after them."""
        pairs = [model.score(ids_BT, own) for model, own in zip(self.models, state.parts, strict=True)]
        return np.stack([nats_BT for nats_BT, _ in pairs], -1), tuple(after for _, after in pairs)

    def _stepped(self, ids_B: np.ndarray, state: MixtureState) -> tuple[list[torch.Tensor], tuple[Any, ...]]:
        """Return the parts' distributions of the next token (B, V), on one device, and their states."""
        pairs = [model.step(ids_B, own) for model, own in zip(self.models, state.parts, strict=True)]
        device = next((logp_BV.device for logp_BV, _ in pairs if logp_BV.device.type != "cpu"), torch.device("cpu"))
        return [logp_BV.to(device) for logp_BV, _ in pairs], tuple(after for _, after in pairs)

    def save(self, folder: Path) -> None:
        """Write the weights into `mixture.json` and each part into its own subfolder."""
        write_facts(folder / FACTS, {**self.facts(), "parts": save_parts(folder, self.parts)})

    @classmethod
    def load(cls, folder: Path, spec: MixtureSpec, vocabulary: Vocabulary, device: str = "cpu") -> MixtureLM:
        """Open a saved mixture with all its parts.

        Raises:
            ModelError: kind "bundle": a file is missing or damaged.
        """
        facts = read_facts(Path(folder) / FACTS)
        return method_class(spec.method).from_facts(load_parts(Path(folder), facts["parts"], vocabulary, device), facts)

    @classmethod
    def fit(
        cls, spec: MixtureSpec, vocabulary: Vocabulary, train: TokenStream, validation: TokenStream, context: FitContext
    ) -> FitResult:
        """Tune the weights on *validation*; the parts are `context.parts`, and are not changed.

        Raises:
            ModelError: kind "input": there is no held-out token, or a part is missing or has another vocabulary.
        """
        from .fitting import fit_mixture

        validation.require(vocabulary)
        return fit_mixture(spec, open_parts(spec.parts, vocabulary, context), validation, context)


class LinearMixture(MixtureLM):
    """The linear mixture p = Σ λ_i p_i with weights that are fixed or depend on the context.

    Args:
        parts: See `MixtureLM`.
        weighting: Source of the weights.
    """

    def __init__(self, parts: Sequence[Part], weighting: Weighting) -> None:
        super().__init__(parts)
        self.weighting = weighting

    def step(self, ids_B: np.ndarray, state: MixtureState) -> tuple[torch.Tensor, MixtureState]:
        """Read one token of each stream; see `LanguageModel.step`. Cost: the parts' steps plus O(V)."""
        distributions, states = self._stepped(ids_B, state)
        log_weight_PB = torch.from_numpy(self.weighting.following(states).T.copy()).to(distributions[0])
        return log_sum_of(distributions, log_weight_PB), MixtureState(states)

    @property
    def first_entries(self) -> int:
        """See `StepsFirst`: the fewest that a part gives alone; 0 if none does."""
        counts = [getattr(model, "first_entries", 0) for model in self.models]
        return min((count for count in counts if count), default=0)

    def step_first(self, ids_B: np.ndarray, state: MixtureState) -> tuple[FirstEntries, MixtureState]:
        """Read one token of each stream; see `StepsFirst`. Other parts are stepped as usual."""
        found = [stepped_first(model, ids_B, own) for model, own in zip(self.models, state.parts, strict=True)]
        states, count = tuple(after for _, after in found), self.first_entries
        log_weight_BP = np.broadcast_to(self.weighting.following(states), (len(ids_B), len(self.models)))
        log_weight_PB = torch.from_numpy(log_weight_BP.T.astype(np.float32))
        first_BC = log_sum_of([entries.logp_BC[:, :count] for entries, _ in found], log_weight_PB)

        def whole(rows_M: np.ndarray) -> torch.Tensor:
            return log_sum_of([entries.whole(rows_M) for entries, _ in found], log_weight_PB[:, rows_M])

        return FirstEntries(first_BC, whole), MixtureState(states)

    def score(self, ids_BT: np.ndarray, state: MixtureState) -> tuple[np.ndarray, MixtureState]:
        """Read T tokens of each stream; see `LanguageModel.score`. Cost: the parts' scores."""
        pairs = zip(self.models, state.parts, strict=True)
        return self.mixed(ids_BT, state, [model.score(ids_BT, own) for model, own in pairs])

    def mixed(
        self, ids_BT: np.ndarray, state: MixtureState, found: Sequence[tuple[np.ndarray, Any]]
    ) -> tuple[np.ndarray, MixtureState]:
        """Return what `score` does, from what the `score` of each part gave."""
        nats_BTP = np.stack([nats_BT for nats_BT, _ in found], -1)
        nats_BT = mixed_nats(nats_BTP, self.weighting.before(ids_BT, state.parts))
        nats_BT[np.isin(ids_BT, sorted(CONTEXT_IDS))] = 0.0
        return nats_BT, MixtureState(tuple(after for _, after in found))

    @property
    def in_bulk(self) -> bool:
        """Whether `predictions` may be called: one part predicts in bulk, and the others are n-gram models."""
        others = [model for model in self.models if not isinstance(model, NGramLM)]
        return len(others) == 1 and in_bulk(others[0])

    def predictions(self, ids_BT: np.ndarray, wanted_BT: np.ndarray) -> Iterator[Predictions]:
        """Yield the distributions at the wanted positions; see `models/predictions.py`.

        The part that is no n-gram model reads many positions at a time; n-gram models look up those that it yields.
        """
        log_weights_BTP = self.weighting.before(ids_BT, self.start(len(ids_BT)).parts)
        log_weights_BTP = np.broadcast_to(log_weights_BTP, (*ids_BT.shape, len(self.models)))
        [network] = (model for model in self.models if not isinstance(model, NGramLM))
        for found in predictions(network, ids_BT, wanted_BT):
            text_N, position_N, logp_NV = found
            log_weight_PN = torch.from_numpy(log_weights_BTP[text_N, position_N].T.astype(logp_NV.dtype))
            parts = [
                model.distributions_at(ids_BT, text_N, position_N) if isinstance(model, NGramLM) else logp_NV
                for model in self.models
            ]
            mixed_NV = log_sum_of([torch.from_numpy(part_NV) for part_NV in parts], log_weight_PN)
            yield Predictions(text_N, position_N, mixed_NV.numpy())

    def attribute(self, ids_BT: np.ndarray, state: MixtureState) -> tuple[Attribution, MixtureState]:
        """Score tokens and return the contribution of each part to each; see `mixture/attribution.py`."""
        nats_BTP, states = self._read(ids_BT, state)
        log_weights_BTP = self.weighting.before(ids_BT, state.parts)
        given_BT = np.isin(ids_BT, sorted(CONTEXT_IDS))
        return attribution_of(self.names, nats_BTP, log_weights_BTP, given_BT), MixtureState(states)

    def facts(self) -> dict[str, Any]:
        """Return the weights as JSON values."""
        return self.weighting.facts()

    @classmethod
    def from_facts(cls, parts: Sequence[Part], facts: dict[str, Any]) -> LinearMixture:
        """Return the mixture that `facts` describes.

        Raises:
            ModelError: kind "bundle": *facts* has no known weights, or weights of other parts.
        """
        from .context_weights import KEY, ContextWeights

        if KEY in facts:
            return cls(parts, ContextWeights.from_facts(parts, facts[KEY]))
        if "weights" in facts:
            return cls(parts, Fixed(np.array(facts["weights"])))
        raise ModelError(f"{FACTS} has no weights that this version can read: fit the mixture again", "bundle")


def method_class(method: str) -> type[MixtureLM]:
    """Return the class of a method of `MixtureSpec`."""
    from .log_linear_lm import LogLinearMixture

    return LogLinearMixture if method == "log_linear" else LinearMixture
