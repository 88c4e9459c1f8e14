"""Score a token stream with a model, in this process or in one that keeps models open (`fork_server.py`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evaluation.scoring.score import ScoreBatches, drawn_reviews, record_scores
from models.bundles.bundle import Bundle
from models.streams import TokenStream
from tasks.evaluation.fork_server import Report


def scored(
    bundle: Bundle, report: Report, work: Path, tokens: Path, observed_reviews: int, seed: int,
    elsewhere: ScoreBatches | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Score a token stream, as a function for a `ModelWork`; return the facts of the scores.

    Args:
        bundle, report, work: See `tasks/evaluation/observed.py`.
        tokens: Folder of the stream.
        observed_reviews: Number of reviews whose tokens are also kept one by one.
        seed: Draws these.
        elsewhere: See `score_stream`.
    """
    stream = TokenStream.open(tokens)
    reviews = drawn_reviews(stream, observed_reviews, seed).tolist()
    return record_scores(bundle, stream, work, reviews, lambda done, total: report(done), elsewhere)
