"""Observe a model's predictions at every position of some reviews, as data with one row per token.

Nats alone say how probable the written token was. Here the whole distribution before each token is examined once, and
all derived facts are stored: the token's rank, the entropy, the top entry's probability, and the keys that suggestions
would have saved. Tables of usefulness and calibration are sums over the rows.
A whole distribution per position is expensive, so this is done for a sample of reviews.

Shapes: N positions, V vocabulary entries, B reviews side by side, T positions of a review, P lengths of the typed part
of a token.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from reviewlm.core.errors import ReviewLMError
from reviewlm.evaluation.scoring.score import PREFIX, ScoringWindow, windows
from reviewlm.models.base import predictions
from reviewlm.models.streams import side_by_side
from reviewlm.models.threads import return_freed
from reviewlm.models.tokens.special import SPECIAL, UNK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reviewlm.models.base import Predictions
    from reviewlm.models.bundles.bundle import Bundle
    from reviewlm.models.streams import TokenStream
    from reviewlm.models.tokens.vocabulary import Vocabulary


HITS = (1, 3, 5)
"""Numbers of suggestions that are looked at."""

SUGGESTIONS_SHOWN = 3
"""Suggestions that the keyboard shows at a time."""
BEYOND_UTF8 = b"\xff"
"""Greater than every byte of UTF-8."""
CLOSING = frozenset(b".,!?;:)")
"""Last bytes of punctuation: a word after them is written with a space."""
COLUMNS = pl.Schema(
    {
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
    }
)
"""Columns of `token_scores.parquet`."""
JUDGED = {"row": pl.Int64(), "predicted_nats": pl.Float64()} | {
    name: dtype for name, dtype in COLUMNS.items() if name not in ("review_id", "token", "nats")
}
"""Columns that a whole distribution gives: row of the review in the stream, nats by this distribution, and others."""
NO_RANK = 0
LOWEST_LOGP = np.float32(-1e4)
"""What log 0 counts as in the entropy."""
POSITIONS = 4_096
"""Positions side by side; bounds memory, does not change the result. On a processor more are not faster."""
MASS_TOLERANCE = 1e-3
"""Largest distance from 1 of the sum of a distribution, which is computed in float32."""
TOLERANCE = 1e-2
"""Largest difference between a token's nats and the nats from the whole distribution, both absolute and relative."""


class Keyboard:
    """Keyboard that shows suggestions from one vocabulary.

    The keyboard always shows the few most probable entries of the vocabulary that begin with the part of the next
    token that has been typed. Picking one costs one key and writes the rest of it. The typist picks as soon as the
    right entry is shown, if picking needs fewer keys than typing on. A word is offered with the space before it.
    Keys are bytes of UTF-8, and so are the text lengths that the saved keys are divided by. An unknown word is
    never shown, so it counts as typed in full:

        keystroke savings = keys spared / bytes of the texts                       1 − keys with suggestions / keys without

    K. Trnka and K. McCoy (2008), "Evaluating word prediction: framing keystroke savings", ACL. Here a pick costs
    one key, and the space before the word is included. With a word vocabulary, the keyboard shows what `next_words`
    and `completions` of `models/completion/suggestions.py` return, so typing with these saves the same keys (but
    for marks of several characters, which are not completed). `suggest`, and so the server, offers words only, so
    the keyboard's three places hold other entries where a mark is likely; without marks in the text the saved keys
    are equal. For parts of words the figure is a lower bound: those functions suggest whole words, and the
    simulated typist follows the single way in which the vocabulary cuts the text.

    Args:
        vocabulary: Its entries, without the special tokens, can be shown.
        shown: Suggestions at a time.
    """

    def __init__(self, vocabulary: Vocabulary, shown: int = SUGGESTIONS_SHOWN) -> None:
        self.shown = shown
        size = vocabulary.size
        special = len(SPECIAL)
        # Entries of other units contain their spaces.
        if vocabulary.unit == "word":
            self.word_V = vocabulary.word_start_V
        else:
            self.word_V = np.zeros(size, bool)

        entries = [b""] * special + [vocabulary.entry(token) for token in range(special, size)]
        self.texts = [
            b" " + text if word else text for text, word in zip(entries, self.word_V, strict=True)
        ]
        self.spaced_V = self.word_V | np.array(
            [bool(text) and text[-1] in CLOSING for text in entries]
        )
        self.order_E = np.array(sorted(range(special, size), key=self.texts.__getitem__), np.int64)
        self._sorted = [self.texts[token] for token in self.order_E]
        self._known: dict[tuple[int, bool], tuple[np.ndarray, np.ndarray]] = {}

    def spared_keys(
        self,
        better_NV: np.ndarray,
        target_N: np.ndarray,
        before_N: np.ndarray,
    ) -> np.ndarray:
        """Return the number of keys that suggestions save at each position (N,), at least 0.

        Args:
            better_NV: The entries that are shown before the target (bool).
            target_N: The token that was written; special tokens save nothing.
            before_N: The token before it.
        """
        spared_N = np.zeros(len(target_N), np.int64)
        before_NE = np.zeros((len(target_N), len(self.order_E) + 1), np.int32)
        np.cumsum(better_NV[:, self.order_E], axis=1, out=before_NE[:, 1:])
        for n, (token, before) in enumerate(zip(target_N.tolist(), before_N.tolist(), strict=True)):
            if token >= len(SPECIAL):
                free = bool(self.word_V[token]) and not self.spaced_V[before]
                low_P, high_P = self._ranges(token, free)
                # The first keys after which the entry is among those that are shown.
                typed = np.flatnonzero(before_NE[n, high_P] - before_NE[n, low_P] < self.shown)
                if len(typed):
                    spared_N[n] = len(low_P) - 1 - typed[0]
                else:
                    spared_N[n] = 0

        return spared_N

    def _ranges(self, token: int, free: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return which sorted entries begin with the first 0, 1, 2 … bytes of a token: from (P,) up to (P,).

        Args:
            token: P is the number of keys that typing it takes.
            free: Whether no space has to be typed before this word.
        """
        if (token, free) not in self._known:
            text = self.texts[token]
            typed = [b"", *(text[:length] for length in range(2 if free else 1, len(text)))]
            low = [bisect_left(self._sorted, prefix) for prefix in typed]
            high = [bisect_left(self._sorted, prefix + BEYOND_UTF8) for prefix in typed]
            self._known[token, free] = np.array(low), np.array(high)
        return self._known[token, free]


def usefulness(tokens: pl.DataFrame, bytes_typed: int) -> dict[str, float]:
    """Return how often the true next token is among the k most probable ones, and the share of keys saved.

    `<unk>` is never suggested, so an unknown token counts as missed. The end token counts as a suggestion. Ties go to
    the lower id. Hits and MRR are per token: they compare models of one vocabulary. Keystroke savings are per byte of
    text and compare any models.

    Args:
        tokens: Result of `reviewlm.evaluation.scoring.observe.observe`.
        bytes_typed: Length of the observed texts, ends included.

    Returns:
        hit@1, hit@3, hit@5, mrr (mean of 1/rank, 0 if the token was not suggested), keystroke_savings.
    """
    rank_N = tokens["suggestion"].cast(pl.Float64).fill_null(np.inf).to_numpy()
    figures = {f"hit@{k}": float((rank_N <= k).mean()) for k in HITS}
    figures["mrr"] = float((1 / rank_N).mean())
    return {**figures, "keystroke_savings": int(tokens["keys_spared"].sum()) / bytes_typed}


def observe(
    bundle: Bundle,
    stream: TokenStream,
    reviews: np.ndarray,
    token_nats: pl.DataFrame,
    *,
    tokens_per_batch: int = POSITIONS,
) -> pl.DataFrame:
    """Return one row per scored token of some reviews, in their order.

    Args:
        bundle: Model and vocabulary.
        stream: Reviews as tokens of that vocabulary.
        reviews: Positions of the reviews in the stream, ascending.
        token_nats: The table that `evaluation.scoring.score.score_stream` wrote for the same reviews. The nats are
            taken from it, so that they add up to the scores of the reviews.
        tokens_per_batch: Positions side by side, padding included; does not change the result beyond rounding.

    Returns:
        `COLUMNS`. position: 0 is the first token of the text, the end token is the last. rank: 1 is the most probable
        entry of the vocabulary (ties: the lowest id comes first); null if the token has probability 0. entropy: of the
        distribution, in nats.  suggestion: the rank without `<unk>`,
        which is never suggested; null for `<unk>` itself. confidence: probability of the top entry. keys_spared: see
        `Keyboard`.

    Raises:
        ModelError: kind "input": the stream was made with another vocabulary.
        ReviewLMError: The nats are not those of these reviews, or the model's
            distributions give other nats or do not sum to 1.
    """
    stream.require(bundle.vocabulary)
    keyboard = Keyboard(bundle.vocabulary)
    parts = []
    for window in _whole_reviews(stream, reviews, tokens_per_batch):
        for part in predictions(bundle.model, window.ids_BT, window.scored_BT):
            parts.append(_judge_positions(part, window, keyboard))

    columns = None
    if parts:
        columns = {}
        for name in JUDGED:
            columns[name] = np.concatenate([part[name] for part in parts])

    judged = pl.DataFrame(columns, JUDGED).sort("row", "position")
    names = {token: bundle.vocabulary.token(token) for token in judged["id"].unique().to_list()}
    review_ids = stream.documents["review_id"].gather(judged["row"])
    ranks = pl.col("rank", "suggestion").replace(NO_RANK, None)
    position = pl.col("position") - PREFIX
    token = pl.col("id").replace_strict(names, return_dtype=pl.String)
    judged = judged.with_columns(
        ranks,
        review_id=review_ids,
        position=position,
        token=token,
    )
    return _with_nats(judged, token_nats).select(
        pl.col(name).cast(dtype) for name, dtype in COLUMNS.items()
    )


def _whole_reviews(
    stream: TokenStream,
    reviews: np.ndarray,
    tokens_per_batch: int,
) -> Iterator[ScoringWindow]:
    """Yield batches of reviews side by side, without cutting any review.

    After each, return freed memory: distributions of changing numbers of rows leave gaps that later ones do not fit.
    """
    lengths_D = np.diff(np.asarray(stream.offsets))[reviews]
    for rows in side_by_side(lengths_D, tokens_per_batch):
        yield from windows(stream, reviews[rows], int(lengths_D[rows].max()))
        return_freed()


def _judge_positions(
    part: Predictions,
    window: ScoringWindow,
    keyboard: Keyboard,
) -> dict[str, np.ndarray]:
    """Return the columns `JUDGED` of N positions; `NO_RANK` where there is no rank."""
    target_N = window.ids_BT[part.text_N, part.position_N]
    before_N = window.ids_BT[part.text_N, part.position_N - 1]
    logp_NV = part.logp_NV
    written_N1 = np.take_along_axis(part.logp_NV, target_N[:, None], 1)
    # The entries that come before the written one: more probable ones, and equal ones of lower id.
    better_NV = logp_NV > written_N1
    better_NV |= (logp_NV == written_N1) & (np.arange(logp_NV.shape[1]) < target_N[:, None])
    p_NV = np.exp(logp_NV)
    _require_distributions(p_NV.sum(1), part, window)
    raw_N = written_N1[:, 0].astype(np.float64)
    rank_N = 1 + np.count_nonzero(better_NV, axis=1)
    possible_N = ~np.isneginf(raw_N)
    known_N = possible_N & (target_N != UNK)
    columns = {
        "row": window.rows_B[part.text_N],
        "position": part.position_N,
        "id": target_N,
    }
    columns["predicted_nats"] = -raw_N
    finite_NV = np.maximum(logp_NV, LOWEST_LOGP)
    columns["entropy"] = -np.einsum("nv,nv->n", p_NV, finite_NV, dtype=np.float64)
    columns["rank"] = np.where(possible_N, rank_N, NO_RANK)
    columns["suggestion"] = np.where(known_N, rank_N - better_NV[:, UNK], NO_RANK)
    columns["confidence"] = np.exp(logp_NV.max(1).astype(np.float64))
    wanted_N = np.where(known_N, target_N, UNK)
    columns["keys_spared"] = keyboard.spared_keys(better_NV, wanted_N, before_N)
    return columns


def _require_distributions(
    mass_N: np.ndarray,
    part: Predictions,
    window: ScoringWindow,
) -> None:
    """Raise ReviewLMError unless each distribution sums to 1: else perplexity and bits mean nothing."""
    wrong_N = ~(np.abs(mass_N - 1) <= MASS_TOLERANCE)
    if wrong_N.any():
        n = int(np.flatnonzero(wrong_N)[0])
        raise ReviewLMError(
            "A model's probabilities do not sum to 1",
            value=f"{mass_N[n]:.6g}",
            where=f"row {window.rows_B[part.text_N[n]]} of the stream, token {part.position_N[n] - PREFIX}",
            cause="its `step` gives no distribution: neither perplexity nor bits mean anything",
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
            value=f"{len(token_nats)} and {len(judged)} tokens",
            cause="drawn with another seed or number",
            remedy="run again with --rebuild score",
        )

    nats_N = token_nats["nats"].to_numpy()
    predicted_N = judged["predicted_nats"].to_numpy()
    far_N = ~np.isclose(nats_N, predicted_N, rtol=TOLERANCE, atol=TOLERANCE)
    if far_N.any():
        worst = judged.row(int(np.flatnonzero(far_N)[0]), named=True)
        raise ReviewLMError(
            "A model's distribution and its score of a token differ",
            where=worst["review_id"],
            value=f"token {worst['position']}: {nats_N[far_N][0]:.6g} nats scored, {predicted_N[far_N][0]:.6g} stepped",
            cause="the model is not the one that was scored, or its `step` and `score` disagree",
        )

    return judged.with_columns(nats=pl.Series(nats_N))
