"""Read held-out reviews in batches and score them with the parts, to tune the weights of a mixture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from models.base import LanguageModel, ModelError
from models.streams import TokenStream, side_by_side
from models.tokens.special import BOS, CONTEXT_IDS

NO_TOKEN = "there is no held-out token to tune the weights on"
TUNING_TOKENS = 100_000
"""Approximate number of held-out tokens for tuning weights: whole reviews, evenly spaced, at least one."""
POSITIONS = 16_384
"""Maximum number of positions in a batch, padding included; changes the result only by rounding."""


class TuningBatch(NamedTuple):
    """A batch of whole reviews, padded with `<bos>`; `scored_BT` is the mask of the predicted tokens."""

    ids_BT: np.ndarray
    scored_BT: np.ndarray


def batches(stream: TokenStream, limit: int, positions: int = POSITIONS) -> Iterator[TuningBatch]:
    """Yield about *limit* tokens of the stream: reviews evenly spaced over it, in batches of similar length.

    Raises:
        ModelError: kind "input": the stream has no token to predict.
    """
    lengths_D = np.diff(np.asarray(stream.offsets))
    count = len(lengths_D)
    if not count or np.isin(stream.ids, sorted(CONTEXT_IDS)).all():
        raise ModelError(NO_TOKEN, "input")
    if (total := int(lengths_D.sum())) > limit:
        count = max(1, count * limit // total)
    chosen = np.arange(count) * len(lengths_D) // count
    for some in side_by_side(lengths_D[chosen], positions):
        yield _padded([np.asarray(stream.document(int(i))) for i in chosen[some]])


def _padded(documents: Sequence[np.ndarray]) -> TuningBatch:
    ids_BT = np.full((len(documents), max(map(len, documents))), BOS, np.int64)
    for row_T, document in zip(ids_BT, documents, strict=True):
        row_T[: len(document)] = document
    return TuningBatch(ids_BT, ~np.isin(ids_BT, sorted(CONTEXT_IDS)))


def token_nats(parts: Sequence[LanguageModel], batch: TuningBatch) -> np.ndarray:
    """Return −log p of the scored tokens under each part, (T, P) float64, in the order of the batch, row by row."""
    columns = [part.score(batch.ids_BT, part.start(len(batch.ids_BT)))[0][batch.scored_BT] for part in parts]
    return np.stack(columns, 1).astype(np.float64)
