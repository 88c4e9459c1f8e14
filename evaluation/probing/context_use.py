"""Measure perplexity with a truncated context: each token predicted from its last k tokens only.

Every chosen token is predicted several times: from the whole review so far, and from its last k tokens alone, which the
model reads from its fresh state. All predictions are of the same tokens, so the perplexities can be compared. Each
chosen token has more tokens before it than the longest context. Khandelwal et al. 2018, "Sharp nearby, fuzzy far away",
truncate the context in the same way. This works for every model that implements the protocol of `models/base.py`.

N: chosen tokens. The other letters of shapes are explained in `models/base.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, inf, isfinite, sqrt
from typing import TYPE_CHECKING

import numpy as np

from models.base import LanguageModel, ModelError
from models.memory import return_freed
from models.predictions import in_bulk, predictions
from models.streams import side_by_side
from models.tokens.vocabulary import BOS

if TYPE_CHECKING:
    from models.streams import TokenStream

CONTEXTS = (1, 2, 5, 10, 20, 50)
PREFIX = 2
"""Tokens before the text: `<bos>` and the star token."""
PER_REVIEW = 40
"""Maximum number of tokens chosen from one review."""
WINDOWED = ("ngram", "nplm")
"""Models with a fixed window of tokens: they take the token after a star token for the beginning of a review."""
POSITIONS = 4_096
"""Positions per call of the model; bounds memory, does not change the result. On a processor more are not faster."""
CLOSE = 0.01
"""A context is long enough if its perplexity is above the full one by at most this share."""


@dataclass(frozen=True)
class Kept:
    """One row of the curve.

    Args:
        context: Tokens kept; None for all.
        perplexity: Perplexity of the chosen tokens.
        rise: Nats per token above the full context.
        error: Standard error of `rise`, with whole reviews as units.
    """

    context: int | None
    perplexity: float
    rise: float
    error: float


@dataclass(frozen=True)
class ContextUse:
    """The curve, with the full context last.

    Args:
        rows: One row per context.
        tokens: Number of tokens that were predicted.
        reviews: Number of reviews that these tokens come from.
    """

    rows: tuple[Kept, ...]
    tokens: int
    reviews: int

    @property
    def full(self) -> float:
        """Perplexity with all of the review so far."""
        return self.rows[-1].perplexity

    @property
    def effective(self) -> int | None:
        """Smallest context within 1 % of the full perplexity; None if all contexts that were tried are too short."""
        close = [row.context for row in self.rows[:-1] if row.perplexity <= (1 + CLOSE) * self.full < inf]
        return min((context for context in close if context is not None), default=None)


def context_use(
    model: LanguageModel, stream: TokenStream, contexts: Sequence[int] = CONTEXTS, tokens: int = 2_000,
    keep_rating: bool = True, seed: int = 1, per_review: int = PER_REVIEW,
) -> ContextUse:
    """Measure the perplexity of held-out tokens by the context kept.

    Args:
        stream: Held-out reviews as tokens of its vocabulary.
        contexts: Numbers of tokens, each 1 or more.
        tokens: Approximate number of tokens to predict.
        keep_rating: Put the star token before the kept tokens, so that only words are removed from the context. Set it
            to False for a model that takes the token after a star token for the beginning of a review (an n-gram model
            does).
        seed: Seed of the choice of reviews.
        per_review: Maximum number of tokens chosen from one review.

    Raises:
        ModelError: kind "input": no contexts or wrong ones, or no review is longer than the longest context.
    """
    contexts = sorted({*contexts})
    if not contexts or contexts[0] < 1 or tokens < 1:
        raise ModelError(f"contexts {contexts} and {tokens} tokens; all must be at least 1", "input")
    review_N, place_N = chosen_tokens(stream, contexts[-1], tokens, seed, per_review)
    full_N = _full_nats(model, stream, review_N, place_N)
    rows = [
        _row(context, _truncated_nats(model, stream, review_N, place_N, context, keep_rating), full_N, review_N)
        for context in contexts
    ]
    return ContextUse((*rows, _row(None, full_N, full_N, review_N)), len(full_N), len(np.unique(review_N)))


def chosen_tokens(
    stream: TokenStream, longest: int, tokens: int, seed: int, per_review: int = PER_REVIEW
) -> tuple[np.ndarray, np.ndarray]:
    """Return reviews (N,) and positions (N,), review by review; each has more than *longest* text tokens before it.

    Raises:
        ModelError: kind "input": no review has such a token.
    """
    lengths_D = np.diff(np.asarray(stream.offsets)).astype(np.int64)
    first = PREFIX + longest + 1
    fit = np.flatnonzero(lengths_D > first)
    if not len(fit):
        words = int(lengths_D.max(initial=PREFIX + 1)) - PREFIX - 1
        raise ModelError(
            f"no review has more than {longest} words before a token to predict (the longest has {words} words); "
            "ask for shorter contexts", "input",
        )  # fmt: skip
    reviews, places, found = [], [], 0
    for review in np.random.default_rng(seed).permutation(fit):
        length = int(lengths_D[review])
        count = min(length - first, per_review, tokens - found)
        places.append(first + np.arange(count) * (length - first) // count)
        reviews.append(np.full(count, review))
        if (found := found + count) >= tokens:
            break
    return np.concatenate(reviews), np.concatenate(places)


def _full_nats(model: LanguageModel, stream: TokenStream, review_N: np.ndarray, place_N: np.ndarray) -> np.ndarray:
    """Return the nats of the chosen tokens given all of their reviews so far; several reviews per batch."""
    reviews, which_N = np.unique(review_N, return_inverse=True)
    last_D = np.zeros(len(reviews), np.int64)
    np.maximum.at(last_D, which_N, place_N)
    begin_D = np.asarray(stream.offsets)[reviews].astype(np.int64)
    nats_N, row_D = np.empty(len(review_N)), np.empty(len(reviews), np.int64)
    for some_B in side_by_side(last_D + 1, POSITIONS):
        last_B1, row_D[some_B] = last_D[some_B, None], np.arange(len(some_B))
        position_T = np.arange(int(last_B1.max()) + 1)
        ids_BT = np.asarray(stream.ids[begin_D[some_B, None] + np.minimum(position_T, last_B1)], np.int64)
        wanted_N = np.flatnonzero(np.isin(which_N, some_B))
        ids_BT = np.where(position_T <= last_B1, ids_BT, BOS)
        nats_N[wanted_N] = _nats_at(model, ids_BT, row_D[which_N[wanted_N]], place_N[wanted_N])
    return nats_N


def _truncated_nats(
    model: LanguageModel, stream: TokenStream, review_N: np.ndarray, place_N: np.ndarray, context: int, rating: bool
) -> np.ndarray:
    begin_N = np.asarray(stream.offsets)[review_N].astype(np.int64)
    nats_N = np.empty(len(review_N))
    for some in _blocks(len(review_N), context + 2):
        at_BT = (begin_N[some] + place_N[some])[:, None] + np.arange(-context, 1)
        ids_BT = np.asarray(stream.ids[at_BT], np.int64)
        if rating:
            ids_BT = np.concatenate([np.asarray(stream.ids[begin_N[some] + 1], np.int64)[:, None], ids_BT], 1)
        rows_N = np.arange(len(ids_BT))
        nats_N[some] = _nats_at(model, ids_BT, rows_N, np.full(len(ids_BT), ids_BT.shape[1] - 1))
    return nats_N


def _nats_at(model: LanguageModel, ids_BT: np.ndarray, rows_N: np.ndarray, places_N: np.ndarray) -> np.ndarray:
    """Return the nats of some tokens of texts that are read from the fresh state.

    A network computes its output layer only at these positions, which saves most of its work.
    """
    return_freed()  # contexts of another length do not fit into the gaps that the last ones left
    if not in_bulk(model):
        return model.score(ids_BT, model.start(len(ids_BT)))[0][rows_N, places_N]
    wanted_BT = np.zeros(ids_BT.shape, bool)
    wanted_BT[rows_N, places_N] = True
    nats_BT = np.zeros(ids_BT.shape)
    for part in predictions(model, ids_BT, wanted_BT):
        own_N = part.logp_NV[np.arange(len(part.text_N)), ids_BT[part.text_N, part.position_N]]
        nats_BT[part.text_N, part.position_N] = -own_N
    return nats_BT[rows_N, places_N]


def _blocks(rows: int, width: int) -> Iterator[slice]:
    step = max(1, POSITIONS // width)
    return (slice(first, first + step) for first in range(0, rows, step))


def _row(context: int | None, nats_N: np.ndarray, full_N: np.ndarray, review_N: np.ndarray) -> Kept:
    mean = float(nats_N.mean())
    if not (isfinite(mean) and np.isfinite(full_N).all()):
        return Kept(context, inf if mean > 700 else exp(mean), inf, inf)
    rise_N = nats_N - full_N
    rise = float(rise_N.mean())
    # Tokens of one review are correlated, so the independent units are the sums over whole reviews.
    sums_R = np.bincount(np.unique(review_N, return_inverse=True)[1], weights=rise_N - rise)
    return Kept(context, exp(min(mean, 700.0)), rise, sqrt(float((sums_R**2).sum())) / len(rise_N))
