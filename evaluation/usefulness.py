"""How useful a model's next-word suggestions would have been to the person who wrote a review."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evaluation.score import batches, windows
from models.vocabulary import GIVEN, UNK

if TYPE_CHECKING:
    from models.bundle import Bundle
    from models.streams import TokenStream

HITS = (1, 3, 5)


def usefulness(
    bundle: Bundle, stream: TokenStream, reviews: int, seed: int, *, tokens_per_batch: int = 4_096
) -> dict[str, float]:
    """Measure how often the true next token is among the k likeliest, over whole reviews drawn by seed.

    `<unk>` is never suggested, so a token that is unknown counts as missed. The end token counts as a suggestion.
    Ties go to the lower id. Figures are per token: they compare models of one vocabulary.

    Args:
        bundle: Model and vocabulary.
        stream: Reviews as tokens of that vocabulary.
        reviews: How many to draw, without replacement; all where there are fewer.
        seed: Equal seeds draw equal reviews.
        tokens_per_batch: Positions handed over at a time, padding included.

    Returns:
        hit@1, hit@3, hit@5, mrr (mean of 1/rank), tokens, reviews.
    """
    stream.require(bundle.vocabulary)
    chosen = np.random.default_rng(seed).choice(len(stream), min(reviews, len(stream)), replace=False)
    offsets = np.concatenate([[0], np.cumsum(np.diff(stream.offsets)[chosen])])
    ranks = np.concatenate(
        [_ranks_of_reviews(bundle, stream, chosen[rows]) for rows in batches(offsets, tokens_per_batch)]
    )
    hits = {f"hit@{k}": float((ranks <= k).mean()) for k in HITS}
    return {**hits, "mrr": float((1 / ranks).mean()), "tokens": float(len(ranks)), "reviews": float(len(chosen))}


def _ranks_of_reviews(bundle: Bundle, stream: TokenStream, rows_B: np.ndarray) -> np.ndarray:
    """Return the rank (1 is best, inf is never) of each scored token of some reviews, in no special order."""
    state, ranks = bundle.model.start(len(rows_B)), []
    longest = int(np.diff(stream.offsets)[rows_B].max())
    (window,) = windows(stream, rows_B, longest)
    logp_BV: np.ndarray | None = None
    for t in range(longest):
        scored_B = window.scored_BT[:, t]
        if logp_BV is not None and scored_B.any():
            ranks.append(_ranks(logp_BV[scored_B], window.ids_BT[scored_B, t]))
        logp, state = bundle.model.step(window.ids_BT[:, t], state)
        logp_BV = np.asarray(logp.cpu())
    return np.concatenate(ranks)


def _ranks(logp_NV: np.ndarray, target_N: np.ndarray) -> np.ndarray:
    """Return 1 + the number of entries that would be suggested before the target."""
    logp_NV = logp_NV.copy()
    logp_NV[:, [UNK, *GIVEN]] = -np.inf
    target_N1 = target_N[:, None]
    logp_N1 = np.take_along_axis(logp_NV, target_N1, axis=1)
    ties_NV = (logp_NV == logp_N1) & (np.arange(logp_NV.shape[1]) < target_N1)
    ranks_N = 1.0 + (logp_NV > logp_N1).sum(axis=1) + ties_NV.sum(axis=1)
    return np.where(np.isneginf(logp_N1[:, 0]), np.inf, ranks_N)
