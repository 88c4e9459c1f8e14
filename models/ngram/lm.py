"""Implement the n-gram language model, for any smoothing method, with the interface of `models/base.py`.

    p(w | h) = p of the n-gram `h w` if it was seen, otherwise γ(h) p(w | h'),   h' = h without its first word

A context h that was never seen has γ = 1. The recursion ends at the unigrams, which cover the whole vocabulary.
Only `training/ngram/smoothing/methods.py` depends on the method behind p and γ. With stupid back-off they are scores
that rank words, not probabilities, so methods that need probabilities raise `ModelError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from ..atomic_files import file_of
from ..base import ModelError
from ..specs import SCORES_ONLY, NGramSpec
from .lookup import NONE, backoff_weights, different
from .tables import Precision, Tables, unknown_words

if TYPE_CHECKING:
    import torch

    from ..tokens.vocabulary import Vocabulary


@dataclass(frozen=True)
class NGramState:
    """The state of an n-gram model: the last N − 1 ids of each stream from its last given token on, (B, N − 1) int64.

    NONE fills the places of tokens that were not read or are before a begin token. The newest id is last.
    """

    context_BK: np.ndarray

    def take(self, rows: Sequence[int]) -> Self:
        """Return the state of the chosen streams, in the given order; a row may be chosen more than once."""
        return type(self)(self.context_BK[np.asarray(rows, np.int64)])

    @classmethod
    def join(cls, states: Sequence[Self]) -> Self:
        """Return one state of all streams, one after another."""
        return cls(np.concatenate([state.context_BK for state in states]))


class NGramLM:
    """A back-off n-gram model: packed tables with the methods `step` and `score` of the interface.

    Args:
        tables: log p and back-off weights.
        normalised: False: the numbers in the tables are scores (stupid back-off), not probabilities. Then `step`
            returns log scores to rank words by; `score` and `distribution` raise ModelError.
    """

    def __init__(self, tables: Tables, normalised: bool = True) -> None:
        self.tables = tables
        self.normalised = normalised
        self.vocabulary_size = tables.vocabulary_size
        self._given_V = np.zeros(tables.vocabulary_size, bool)
        self._given_V[list(tables.given)] = True
        self._looked_up: tuple[NGramState, list[np.ndarray]] | None = None

    @property
    def order(self) -> int:
        """Length N of the longest n-gram."""
        return self.tables.order

    def start(self, batch: int) -> NGramState:
        """Return the state of *batch* streams before their first token: empty contexts."""
        return NGramState(np.full((batch, self.order - 1), NONE, np.int64))

    def step(self, ids_B: np.ndarray, state: NGramState) -> tuple[torch.Tensor, NGramState]:
        """Read one token of each stream; return logp_BV (float32, CPU) of the next one, and the new state.

        If the model is not `normalised`, these are log scores for ranking, which do not sum to 1.

        Raises:
            ModelError: An id is outside the vocabulary, or the batch size is not that of the state.
        """
        import torch  # only here: without it, fitting and scoring start seconds earlier

        state = self.read(np.asarray(ids_B)[:, None], state)
        return torch.from_numpy(self._next(state, np.float32)), state

    def distributions(
        self, ids_BT: np.ndarray, state: NGramState
    ) -> tuple[torch.Tensor, NGramState]:
        """Read T tokens of each stream; see `models.base.distributions`."""
        import torch

        after = self.states(ids_BT, state)
        logp_BTV = torch.from_numpy(self._next(after, np.float32)).unflatten(0, ids_BT.shape)
        last = np.arange(1, len(ids_BT) + 1) * ids_BT.shape[1] - 1
        return logp_BTV, after.take(last)  # type: ignore[arg-type]

    def states(self, ids_BT: np.ndarray, state: NGramState) -> NGramState:
        """Return the states after each of T tokens, those of the first stream first (B · T)."""
        ids_BL = np.concatenate([state.context_BK, self._check_ids(ids_BT, state)], axis=1)
        columns_TK = np.arange(1, ids_BT.shape[1] + 1)[:, None] + np.arange(self.order - 1)
        return self._after(ids_BL[:, columns_TK].reshape(ids_BT.size, self.order - 1))

    def read(self, ids_BT: np.ndarray, state: NGramState) -> NGramState:
        """Read T tokens of each stream without scoring them; return the state after them.

        Raises:
            ModelError: An id is outside the vocabulary, or the batch size is not that of the state.
        """
        return self._after(
            np.concatenate([state.context_BK, self._check_ids(ids_BT, state)], axis=1)
        )

    def advance(self, ids_BT: np.ndarray, state: NGramState) -> NGramState:
        """Read T tokens of each stream without scoring them, as `read`; see `models.base.read_on`."""
        return self.read(ids_BT, state)

    def score(self, ids_BT: np.ndarray, state: NGramState) -> tuple[np.ndarray, NGramState]:
        """Read T tokens of each stream; return −log p of each in nats (B, T) float64, and the state after them.

        Given tokens have 0 nats. Time and memory grow only with B · T.

        Raises:
            ModelError: An id is outside the vocabulary, the batch size is not that of the state, or the model has no
                probabilities (stupid back-off).
        """
        self._require_probabilities()
        ids_BT = self._check_ids(ids_BT, state)
        ids_BL = np.concatenate([state.context_BK, ids_BT], axis=1)
        nats_BT = -self.tables.log_probabilities(ids_BL)[:, self.order - 1 :]
        nats_BT[self._given_V.take(ids_BT)] = 0.0
        return nats_BT, self._after(ids_BL)

    def distribution(self, state: NGramState) -> np.ndarray:
        """Return the log-probabilities of the next token, (B, V) nats; −inf for given ids.

        In float64 each row sums to 1 within 1e-12.

        Raises:
            ModelError: The model has no probabilities (stupid back-off).
        """
        self._require_probabilities()
        return self._next(state, np.float64)

    def _require_probabilities(self) -> None:
        if not self.normalised:
            raise ModelError(
                "stupid back-off gives scores, not probabilities: they do not sum to 1, so there are no nats and there "
                "is no perplexity; it can rank next words (`read`, `step`)",
                kind="input",
            )

    def _next(self, state: NGramState, dtype: type) -> np.ndarray:
        """Return log p (or log scores) of the next token, (B, V).

        Start with the unigrams times the back-off weights of all longer contexts. Then overwrite the entries of the
        followers of each longer context. Streams with the same context are looked up once: a text that is read with
        each rating soon has the same last tokens in all its streams.

        Raises:
            ModelError: A follower has an id outside the vocabulary: its file is damaged; kind "bundle".
        """
        # Only here: numba takes half a second, which a fit does not need.
        from . import step_kernels as kernels

        first_U, which_B = different(state.context_BK)
        contexts = [context_B[first_U] for context_B in self.contexts(state)]
        weights = [
            backoff_weights(c, b) for c, b in zip(contexts, self.tables.backoff, strict=True)
        ]
        # remaining[k]: sum of the log back-off weights of all contexts of more than k tokens
        remaining = [sum(weights[k:], np.zeros(len(first_U))) for k in range(self.order)]
        out_UV: np.ndarray = np.empty((len(first_U), self.vocabulary_size), dtype)
        np.add(self.tables.logp[0], remaining[0][:, None], out=out_UV, casting="same_kind")
        for followers, logp, context_U, left_U in zip(
            self.tables.followers,
            self.tables.logp[1:],
            contexts,
            remaining[1:],
            strict=True,
        ):
            if not kernels.write_followers(
                out_UV,
                context_U,
                followers.first_C,
                followers.word_M,
                logp,
                left_U,
            ):
                raise unknown_words(file_of(followers.word_M), self.vocabulary_size)

        if len(first_U) == len(which_B):
            return out_UV
        return out_UV[which_B]

    def distributions_at(
        self,
        ids_BT: np.ndarray,
        text_N: np.ndarray,
        position_N: np.ndarray,
    ) -> np.ndarray:
        """Return the distributions (N, V) float32 before some positions of texts that are read from the start state.

        Args:
            ids_BT: Whole texts from their first token on, padded at their ends.
            text_N: Row of the text in the ids.
            position_N: Position in this text.
        """
        start = self.start(len(ids_BT))
        before_BL = np.concatenate([start.context_BK, self._check_ids(ids_BT, start)], axis=1)
        window_NK = before_BL[text_N[:, None], position_N[:, None] + np.arange(self.order - 1)]
        return self._next(self._after(window_NK), np.float32)

    def contexts(self, state: NGramState) -> list[np.ndarray]:
        """Return the rows of the contexts of 1, 2, … N − 1 tokens before the next token, each (B,) int64.

        NONE if a context was never seen. In `tables`, the row is the index of the context's back-off weight (`backoff`)
        and of the n-grams that continue it (`followers`).
        """
        if self.order == 1:
            return []
        # A mixture calls again, right after the step.
        if (latest := self._looked_up) and latest[0] is state:
            return latest[1]

        first_U, which_B = different(state.context_BK)
        from . import step_kernels as kernels

        rows = [
            row_U[which_B]
            for row_U in kernels.contexts_of(state.context_BK[first_U], self.tables.packed)
        ]
        self._looked_up = (state, rows)
        return rows

    def save(self, folder: Path, precision: Precision | None = None) -> None:
        """Write the tables into *folder* (`.npy` and one JSON file); see `Tables.save`."""
        self.tables.save(folder, precision)

    @classmethod
    def load(
        cls,
        folder: Path,
        spec: NGramSpec,
        vocabulary: Vocabulary,
        device: str = "cpu",
    ) -> NGramLM:
        """Open a saved model, memory-mapped; it runs on the CPU, and *device* has no effect.

        Raises:
            ModelError: Files are missing, damaged, or do not fit the spec or the vocabulary; kind "bundle".
        """
        model = cls(Tables.load(Path(folder)), normalised=spec.smoothing not in SCORES_ONLY)
        if (model.order, model.vocabulary_size) != (spec.order, vocabulary.size):
            raise ModelError(
                f"{folder} holds order {model.order} over {model.vocabulary_size} entries; "
                f"the spec says order {spec.order}, the vocabulary has {vocabulary.size}",
                kind="bundle",
            )
        return model

    def _check_ids(self, ids_BT: np.ndarray, state: NGramState) -> np.ndarray:
        ids_BT = np.asarray(ids_BT, np.int64)
        if ids_BT.ndim != 2 or len(ids_BT) != len(state.context_BK):
            streams = len(state.context_BK)
            raise ModelError(
                f"ids of shape {ids_BT.shape} for a state of {streams} streams", kind="input"
            )
        if ids_BT.size and not 0 <= int(ids_BT.min()) <= int(ids_BT.max()) < self.vocabulary_size:
            outside = f"{ids_BT.min()} to {ids_BT.max()}"
            raise ModelError(
                f"token ids from {outside}; the model knows 0 to {self.vocabulary_size - 1}",
                kind="input",
            )

        return ids_BT

    def _after(self, ids_BL: np.ndarray) -> NGramState:
        """Return the last N − 1 ids, with NONE for ids before a given token, because no context crosses a begin."""
        context_BK = ids_BL[:, ids_BL.shape[1] - (self.order - 1) :].copy()
        given_BK = self._given_V[context_BK] & (context_BK != NONE)
        hidden_BK = np.cumsum(given_BK[:, ::-1], axis=1)[:, ::-1] - given_BK > 0
        context_BK[hidden_BK] = NONE
        return NGramState(context_BK)
