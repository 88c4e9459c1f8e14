"""Observe a model's predictions at every position of some reviews, as data with one row per token.

Nats alone say how probable the written token was. Here the whole distribution before each token is examined once, and
all derived facts are stored: the token's rank, the entropy, the top entry's probability, and the keys that suggestions
would have saved. Tables of usefulness and calibration are sums over the rows.
A whole distribution per position is expensive, so this is done for a sample of reviews.

Shapes: N positions, V vocabulary entries, B reviews side by side, T positions of a review.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from core.errors import ReviewLMError
from evaluation.scoring.keystrokes import Keyboard
from evaluation.scoring.score import PREFIX, ScoringWindow, windows
from models.base import predictions
from models.streams import side_by_side
from models.threads import return_freed
from models.tokens.special import UNK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.base import Predictions
    from models.bundles.bundle import Bundle
    from models.streams import TokenStream

COLUMNS = pl.Schema({
    "review_id": pl.String(),
    "position": pl.Int64(),
    "id": pl.Int64(),
    "token": pl.String(),
    "nats": pl.Float64(),
    "rank": pl.Int64(),
    "entropy": pl.Float64(),
    "suggestion": pl.Int64(),
    "confidence": pl.Float64(),
    "keys_spared": pl.Int64(),
})
"""Columns of `token_scores.parquet`."""
JUDGED = {"row": pl.Int64(), "predicted_nats": pl.Float64()} | {
    name: dtype for name, dtype in COLUMNS.items() if name not in ("review_id", "token", "nats")
}
"""Columns that a whole distribution gives: row of the review in the stream, nats by this distribution, and others."""
NO_RANK = 0
LOWEST = np.float32(-1e4)
"""What log 0 counts as in the entropy."""
POSITIONS = 4_096
"""Positions side by side; bounds memory, does not change the result. On a processor more are not faster."""
MASS_TOLERANCE = 1e-3
"""Largest distance from 1 of the sum of a distribution, which is computed in float32."""
SUM_TOLERANCE = 1e-9
"""Largest difference, absolute and relative, between the nats of a review and the sum of those of its tokens."""
TOLERANCE = 1e-2
"""Largest difference between a token's nats and the nats from the whole distribution, both absolute and relative."""


def observe(
    bundle: Bundle, stream: TokenStream, reviews: np.ndarray, token_nats: pl.DataFrame, scores: pl.DataFrame,
    *, tokens_per_batch: int = POSITIONS,
) -> pl.DataFrame:  # fmt: skip
    """Return one row per scored token of some reviews, in their order.

    Args:
        bundle: Model and vocabulary.
        stream: Reviews as tokens of that vocabulary.
        reviews: Positions of the reviews in the stream, ascending.
        token_nats: The table that `evaluation.scoring.score.score_stream` wrote for the same reviews. The nats are
            taken from it, so that they add up to the scores of the reviews.
        scores: Review_id and nats of each scored review.
        tokens_per_batch: Positions side by side, padding included; does not change the result beyond rounding.

    Returns:
        `COLUMNS`. position: 0 is the first token of the text, the end token is the last. rank: 1 is the most probable
        entry of the vocabulary (ties: the lowest id comes first); null if the token has probability 0. entropy: of the
        distribution, in nats.  suggestion: the rank without `<unk>`,
        which is never suggested; null for `<unk>` itself. confidence: probability of the top entry. keys_spared: see
        `evaluation/scoring/keystrokes.py`.

    Raises:
        ModelError: kind "input": the stream was made with another vocabulary.
        ReviewLMError: The nats are not those of these reviews, or do not add up to their scores, or the model's
            distributions give other nats or do not sum to 1.
    """
    stream.require(bundle.vocabulary)
    keyboard = Keyboard(bundle.vocabulary)
    parts = [
        _judged(part, window, keyboard)
        for window in _whole_reviews(stream, reviews, tokens_per_batch)
        for part in predictions(bundle.model, window.ids_BT, window.scored_BT)
    ]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in JUDGED} if parts else None
    judged = pl.DataFrame(columns, JUDGED).sort("row", "position")
    names = {token: bundle.vocabulary.token(token) for token in judged["id"].unique().to_list()}
    judged = judged.with_columns(
        pl.col("rank", "suggestion").replace(NO_RANK, None),
        review_id=stream.documents["review_id"].gather(judged["row"]),
        position=pl.col("position") - PREFIX,
        token=pl.col("id").replace_strict(names, return_dtype=pl.String),
    )
    require_sums(token_nats, scores)
    return _with_nats(judged, token_nats).select(pl.col(name).cast(dtype) for name, dtype in COLUMNS.items())


def _whole_reviews(stream: TokenStream, reviews: np.ndarray, tokens_per_batch: int) -> Iterator[ScoringWindow]:
    """Yield batches of reviews side by side, without cutting any review.

    After each, return freed memory: distributions of changing numbers of rows leave gaps that later ones do not fit.
    """
    lengths_D = np.diff(np.asarray(stream.offsets))[reviews]
    for rows in side_by_side(lengths_D, tokens_per_batch):
        yield from windows(stream, reviews[rows], int(lengths_D[rows].max()))
        return_freed()


def _judged(part: Predictions, window: ScoringWindow, keyboard: Keyboard) -> dict[str, np.ndarray]:
    """Return the columns `JUDGED` of N positions; `NO_RANK` where there is no rank."""
    target_N = window.ids_BT[part.text_N, part.position_N]
    before_N = window.ids_BT[part.text_N, part.position_N - 1]
    logp_NV, written_N1 = part.logp_NV, np.take_along_axis(part.logp_NV, target_N[:, None], 1)
    # The entries that come before the written one: more probable ones, and equal ones of lower id.
    better_NV = logp_NV > written_N1
    better_NV |= (logp_NV == written_N1) & (np.arange(logp_NV.shape[1]) < target_N[:, None])
    p_NV = np.exp(logp_NV)
    _require_distributions(p_NV.sum(1), part, window)
    raw_N = written_N1[:, 0].astype(np.float64)
    rank_N, possible_N = 1 + np.count_nonzero(better_NV, axis=1), ~np.isneginf(raw_N)
    known_N = possible_N & (target_N != UNK)
    return {
        "row": window.rows_B[part.text_N],
        "position": part.position_N,
        "id": target_N,
        "predicted_nats": -raw_N,
        "entropy": -np.einsum("nv,nv->n", p_NV, np.maximum(logp_NV, LOWEST), dtype=np.float64),
        "rank": np.where(possible_N, rank_N, NO_RANK),
        "suggestion": np.where(known_N, rank_N - better_NV[:, UNK], NO_RANK),
        "confidence": np.exp(logp_NV.max(1).astype(np.float64)),
        "keys_spared": keyboard.spared(better_NV, np.where(known_N, target_N, UNK), before_N),
    }


def _require_distributions(mass_N: np.ndarray, part: Predictions, window: ScoringWindow) -> None:
    """Raise ReviewLMError unless each distribution sums to 1: else perplexity and bits mean nothing."""
    wrong_N = ~(np.abs(mass_N - 1) <= MASS_TOLERANCE)
    if wrong_N.any():
        n = int(np.flatnonzero(wrong_N)[0])
        raise ReviewLMError(
            "A model's probabilities do not sum to 1", value=f"{mass_N[n]:.6g}",
            where=f"row {window.rows_B[part.text_N[n]]} of the stream, token {part.position_N[n] - PREFIX}",
            cause="its `step` gives no distribution: neither perplexity nor bits mean anything",
        )  # fmt: skip


def require_sums(token_nats: pl.DataFrame, scores: pl.DataFrame) -> None:
    """Raise ReviewLMError unless the nats of the tokens of each observed review add up to the review's nats."""
    sums = token_nats.group_by("review_id", maintain_order=True).agg(pl.col("nats").sum().alias("sum"))
    both = sums.join(scores.select("review_id", "nats"), on="review_id", how="left")
    close = np.isclose(both["sum"].to_numpy(), both["nats"].to_numpy(), rtol=SUM_TOLERANCE, atol=SUM_TOLERANCE)
    if not close.all():
        worst = both.row(int(np.flatnonzero(~close)[0]), named=True)
        raise ReviewLMError(
            "The scores of a review's tokens do not add up to its score", where=worst["review_id"],
            value=f"{worst['sum']} and {worst['nats']} nats", remedy="run again with --rebuild score",
        )


def _with_nats(judged: pl.DataFrame, token_nats: pl.DataFrame) -> pl.DataFrame:
    """Add the nats from the score stage.

    Raises:
        ReviewLMError: They are of other reviews, or differ from the nats of the distributions.
    """
    key = ["review_id", "position"]
    if not judged.select(key).equals(token_nats.select(key)):
        raise ReviewLMError(
            "The scores of tokens belong to other reviews than the observed ones",
            value=f"{len(token_nats)} and {len(judged)} tokens", cause="drawn with another seed or number",
            remedy="run again with --rebuild score",
        )  # fmt: skip
    nats_N, predicted_N = token_nats["nats"].to_numpy(), judged["predicted_nats"].to_numpy()
    far_N = ~np.isclose(nats_N, predicted_N, rtol=TOLERANCE, atol=TOLERANCE)
    if far_N.any():
        worst = judged.row(int(np.flatnonzero(far_N)[0]), named=True)
        raise ReviewLMError(
            "A model's distribution and its score of a token differ", where=worst["review_id"],
            value=f"token {worst['position']}: {nats_N[far_N][0]:.6g} nats scored, {predicted_N[far_N][0]:.6g} stepped",
            cause="the model is not the one that was scored, or its `step` and `score` disagree",
        )  # fmt: skip
    return judged.with_columns(nats=pl.Series(nats_N))
