"""Score a token stream with a model: one row per review, every token scored once, the same way for all models.

Reviews are scored side by side in batches of similar length. A batch is padded at its end with `<bos>`, which no model
predicts, and each review starts from the model's fresh state. So neither the batch size nor the order of the reviews
changes a number beyond rounding.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from reviewlm.core.errors import ReviewLMError
from reviewlm.corpus.splitting.certificate import reviews_digest
from reviewlm.evaluation.scoring.metrics import Figures, figures_of, policies
from reviewlm.models.base import adaptation_of
from reviewlm.models.streams import TokenStream, side_by_side
from reviewlm.models.tokens.special import BOS

if TYPE_CHECKING:
    from reviewlm.models.bundles.bundle import Bundle

SCORES_FILE = "scores.parquet"
TOKEN_NATS = "token_nats.parquet"
FIGURES_FILE = "figures.json"
PREFIX = 2
"""Tokens before the text: `<bos>` and the star token."""
TOKENS_PER_BATCH = 16_384
"""Positions per call of the model, padding included; bounds the memory."""


class ScoringWindow(NamedTuple):
    """Some positions of some reviews. B reviews, T positions; `scored_BT` marks the scored positions."""

    rows_B: np.ndarray
    start: int
    ids_BT: np.ndarray
    scored_BT: np.ndarray


class Batch(NamedTuple):
    """Reviews that are scored side by side, as a stream of their own: so another machine can score them.

    Args:
        rows_B: Their positions in the whole stream.
        keep_B: Whether the tokens of each are kept one by one.
        width: Positions per call of the model.
        ids, offsets: See `TokenStream`.
    """

    rows_B: np.ndarray
    keep_B: np.ndarray
    width: int
    ids: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(
        cls,
        stream: TokenStream,
        rows_B: np.ndarray,
        keep_B: np.ndarray,
        positions: int,
    ) -> Batch:
        """Copy reviews of a stream; *positions*: of all reviews together, in a call of the model."""
        documents = [stream.document(row) for row in rows_B]
        offsets = np.cumsum([0, *map(len, documents)])
        return cls(
            rows_B,
            keep_B,
            max(1, positions // len(rows_B)),
            np.concatenate(documents),
            offsets,
        )


BatchScores = tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]]
"""Positions, scored tokens and nats of the reviews of a batch, and of the kept ones their tokens one by one."""
ScoreBatches = Callable[[Iterable[Batch]], Iterable[BatchScores]]


def score_stream(
    bundle: Bundle,
    stream: TokenStream,
    folder: Path | None = None,
    *,
    observed: Sequence[int] = (),
    tokens_per_batch: int = TOKENS_PER_BATCH,
    report: Callable[[int, int], None] = lambda done, total: None,
    elsewhere: ScoreBatches | None = None,
) -> pl.DataFrame:
    """Score every review of a stream.

    Texts are read from the memory-mapped stream batch by batch. Only the rows of the result grow with the number of
    reviews (`docs/concepts/evaluation/evaluation.md` has the bytes).

    Args:
        bundle: Model and vocabulary.
        stream: Reviews as tokens of that vocabulary.
        folder: Folder to write the result to as `scores.parquet`; None writes nothing.
        observed: Positions in the stream of reviews whose tokens are also written one by one, as they were scored, to
            `token_nats.parquet` in that folder: review_id, position (0 is the first token of the text), nats.
        tokens_per_batch: Positions per call of the model.
        report: Called after each batch with the number of reviews done and their total.
        elsewhere: Scores the batches with the same model in other processes, in any order; None: this process does.

    Returns:
        One row per review in the order of the stream: the columns of `stream.documents` (review_id, stars, bytes,
            words,
        tokens, oov, spelling_nats, surface_nats) and `nats` = −log p(review | stars) of its scored tokens. These are
        the tokens of the text and the end token, never the begin or the star token.

    Raises:
        reviewlm.models.base.ModelError: The stream was made with another vocabulary or boundary policy.
        ReviewLMError: The scored tokens are not the tokens of the stream.
    """
    stream.require(bundle.vocabulary)
    tokens_D = np.zeros(len(stream), np.int64)
    keep_D = np.zeros(len(stream), bool)
    done = 0
    keep_D[list(observed)] = True
    nats_D = np.zeros(len(stream))
    kept: list[np.ndarray] = []
    batches = (
        Batch.of(stream, rows_B, keep_D[rows_B], tokens_per_batch)
        for rows_B in side_by_side(np.diff(stream.offsets), tokens_per_batch)
    )
    for rows_B, tokens_B, nats_B, tokens in (
        elsewhere or partial(map, partial(score_batch, bundle))
    )(batches):
        tokens_D[rows_B] = tokens_B
        nats_D[rows_B] = nats_B
        kept += tokens
        done += len(rows_B)
        report(done, len(stream))

    _require_each_token_once(tokens_D, stream)
    rows = stream.documents.with_columns(pl.Series("nats", nats_D))
    if folder is not None:
        rows.write_parquet(folder / SCORES_FILE)
        if kept:
            _token_table(stream, kept).write_parquet(folder / TOKEN_NATS)

    return rows


def score_into_folder(
    bundle: Bundle,
    stream: TokenStream,
    folder: Path,
    observed: Sequence[int] = (),
    report: Callable[[int, int], None] = lambda done, total: None,
    elsewhere: ScoreBatches | None = None,
) -> dict[str, Any]:
    """Score every review of a stream into a folder: `scores.parquet`, `token_nats.parquet`, `figures.json`.

    Args:
        bundle, stream, folder, observed, report, elsewhere: See `score_stream`.

    Returns:
        The figures of all reviews, a digest that identifies these reviews, and the seconds of scoring: of the processor
        where these are fewer, because another model may be scored beside it.
    """
    began = perf_counter()
    cpu_began = process_time()
    rows = score_stream(
        bundle,
        stream,
        folder,
        observed=observed,
        report=report,
        elsewhere=elsewhere,
    )
    seconds = perf_counter() - began
    if elsewhere is None:
        seconds = min(seconds, process_time() - cpu_began)

    whole = figures_of_bundle(rows, bundle)
    vocabulary = bundle.vocabulary
    stated = policies(whole.boundary, vocabulary.digest, vocabulary.unit, whole.adaptation)
    figures = {"reviews_digest": reviews_digest(rows), **whole.to_dict()}
    text = json.dumps({"figures": figures, "policies": stated}, indent=2)
    (folder / FIGURES_FILE).write_text(text, encoding="utf-8")
    return {**figures, "score_seconds": seconds}


def write_scores(
    bundle: Bundle,
    report: Callable[[int], None],
    work: Path,
    tokens: Path,
    observed_reviews: int,
    seed: int,
    elsewhere: ScoreBatches | None = None,
) -> dict[str, Any]:
    """Score a token stream, and return the facts of the scores.

    Args:
        bundle: The opened model.
        report: Called with the number of reviews done.
        work: Folder for the files that are made.
        tokens: Folder of the stream.
        observed_reviews: Number of reviews whose tokens are also kept one by one.
        seed: Draws these.
        elsewhere: See `score_stream`.
    """
    stream = TokenStream.open(tokens)
    reviews = drawn_reviews(stream, observed_reviews, seed).tolist()
    return score_into_folder(
        bundle,
        stream,
        work,
        reviews,
        lambda done, total: report(done),
        elsewhere,
    )


def drawn_reviews(
    stream: TokenStream,
    reviews: int,
    seed: int,
) -> np.ndarray:
    """Return the positions of *reviews* reviews, drawn without replacement, ascending; all of them if there are fewer.

    Streams of the same reviews in the same order give the same positions, with any vocabulary.
    """
    return np.sort(
        np.random.default_rng(seed).choice(len(stream), min(reviews, len(stream)), replace=False)
    )


def windows(
    stream: TokenStream | Batch,
    rows_B: np.ndarray,
    width: int,
) -> Iterator[ScoringWindow]:
    """Yield the reviews *rows_B* side by side, *width* positions at a time, padded with `<bos>`.

    All tokens of a review are scored, except the first two: begin and stars.
    """
    ids = np.asarray(stream.ids)
    offsets = np.asarray(stream.offsets)
    first_B1 = offsets[rows_B][:, None]
    length_B1 = offsets[rows_B + 1][:, None] - first_B1
    longest = int(length_B1.max())
    for start in range(0, longest, width):
        position_T = np.arange(start, min(start + width, longest))
        inside_BT = position_T < length_B1
        ids_BT = ids.take(first_B1 + position_T, mode="clip").astype(np.int64)
        ids_BT[~inside_BT] = BOS
        yield ScoringWindow(rows_B, start, ids_BT, inside_BT & (position_T >= PREFIX))


def score_batch(bundle: Bundle, batch: Batch) -> BatchScores:
    """Score a batch; the state is carried from window to window.

    Tokens that are not scored, padding included, are never predicted by a model, so their nats are 0.
    """
    state = bundle.model.start(len(batch.rows_B))
    kept: list[np.ndarray] = []
    tokens_B = np.zeros(len(batch.rows_B), np.int64)
    nats_B = np.zeros(len(batch.rows_B))
    for window in windows(batch, np.arange(len(batch.rows_B)), batch.width):
        nats_BT, state = bundle.model.score(window.ids_BT, state)
        tokens_B += np.count_nonzero(window.scored_BT, axis=1)
        nats_B += nats_BT.sum(axis=1)
        if batch.keep_B.any():
            kept.append(_tokens_to_keep(batch, window, nats_BT))

    return batch.rows_B, tokens_B, nats_B, kept


def _tokens_to_keep(
    batch: Batch,
    window: ScoringWindow,
    nats_BT: np.ndarray,
) -> np.ndarray:
    """Return review (position in the stream), position in its text and nats of the tokens to keep, (3, N)."""
    rows = np.flatnonzero(batch.keep_B)
    row_N, t_N = np.nonzero(window.scored_BT[rows])
    rows_N = batch.rows_B[rows[row_N]]
    position_N = window.start + t_N - PREFIX
    return np.stack([rows_N, position_N, nats_BT[rows[row_N], t_N]])


def _token_table(stream: TokenStream, columns: Sequence[np.ndarray]) -> pl.DataFrame:
    row_N, position_N, nats_N = np.concatenate(columns, axis=1)
    order_N = np.lexsort((position_N, row_N))
    review_ids = stream.documents["review_id"].gather(row_N[order_N].astype(np.int64))
    return pl.DataFrame(
        {
            "review_id": review_ids,
            "position": position_N[order_N].astype(np.int64),
            "nats": nats_N[order_N],
        }
    )


def _require_each_token_once(tokens_D: np.ndarray, stream: TokenStream) -> None:
    scored = int(tokens_D.sum())
    if scored != stream.tokens or not np.array_equal(
        tokens_D, stream.documents["tokens"].to_numpy()
    ):
        raise ReviewLMError(
            "Not every token was scored once",
            value=f"{scored} scored, {stream.tokens} in the stream",
            cause="the stream's files do not belong together",
            remedy="run again with --rebuild tokens",
        )


def figures_of_bundle(rows: pl.DataFrame, bundle: Bundle) -> Figures:
    """Add up the rows scored by *bundle*; unit, vocabulary, boundary policy and adaptation are taken from it."""
    vocabulary = bundle.vocabulary
    return figures_of(
        rows,
        unit=vocabulary.unit,
        vocabulary=vocabulary.digest,
        boundary=vocabulary.boundary_policy,
        adaptation=adaptation_of(bundle.model),
    )
