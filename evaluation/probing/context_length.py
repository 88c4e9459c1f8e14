"""Find the effective context length: the fewest tokens kept within 1 % of the full-context perplexity.

The same target tokens are predicted from their last 1, 2, 4, 8 … tokens, each time from the fresh state, and from the
whole review so far (`evaluation/probing/context_use.py`). The effective context length is the smallest of these numbers
with a perplexity within 1 % of the perplexity with the full context. There is none if even the longest one that was
tried is too short.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isinf, log
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from evaluation.probing.context_use import PREFIX, WINDOWED, context_use

if TYPE_CHECKING:
    from models.base import LanguageModel
    from models.bundles.bundle import Bundle
    from models.specs import ModelSpec
    from models.streams import TokenStream

PER_REVIEW = 10
"""Maximum number of target tokens per review: many reviews say more than many tokens of few reviews."""
SCHEMA = pl.Schema({
    "kept": pl.Int64(),
    "nats_per_token": pl.Float64(),
    "rise": pl.Float64(),
    "error": pl.Float64(),
    "reviews": pl.Int64(),
    "tokens": pl.Int64(),
})
"""Columns of `context.parquet`."""


def context_curve(
    bundle: Bundle, stream: TokenStream, contexts: Sequence[int], tokens: int, seed: int
) -> tuple[pl.DataFrame, int | None]:
    """Return the curve of a model, and its effective context length in tokens.

    A context is left out if the reviews do not have enough targets with more tokens than that before them.

    Args:
        bundle: Model and vocabulary.
        stream: Held-out reviews as tokens of that vocabulary.
        contexts: Numbers of tokens kept, each 1 or more.
        tokens: Approximate number of targets.
        seed: Seed of the choice of reviews; models of one vocabulary predict the same targets.

    Returns:
        `SCHEMA`, sorted by kept ascending, with null (all of the review so far) last. rise: nats per token above the
        full context; error: its standard error with reviews as units. No rows if the reviews are too short for any
        context.
    """
    stream.require(bundle.vocabulary)
    possible = _long_enough(stream, contexts, tokens)
    if not possible:
        return pl.DataFrame(schema=SCHEMA), None
    rating = keeps_rating(bundle.spec, bundle.model)
    found = context_use(bundle.model, stream, possible, tokens, rating, seed, PER_REVIEW)
    rows = [
        {"kept": row.context, "nats_per_token": inf if isinf(row.perplexity) else log(row.perplexity),
         "rise": row.rise, "error": row.error, "reviews": found.reviews, "tokens": found.tokens}
        for row in found.rows
    ]  # fmt: skip
    return pl.DataFrame(rows, SCHEMA), found.effective


def keeps_rating(spec: ModelSpec, model: LanguageModel) -> bool:
    """Return whether the star token is put before the kept tokens, so that only words are removed from the context.

    False if every part of the model looks at a window of tokens: such a model would take the token after a star token
    for the beginning of a review.
    """
    parts = getattr(model, "parts", ())
    return any(keeps_rating(part.spec, part.model) for part in parts) if parts else spec.kind not in WINDOWED


def _long_enough(stream: TokenStream, contexts: Sequence[int], tokens: int) -> list[int]:
    """Return the contexts with enough targets; if there are none, the shortest context that has any target."""
    lengths_D = np.diff(np.asarray(stream.offsets))
    targets = {kept: int(np.clip(lengths_D - PREFIX - kept - 1, 0, PER_REVIEW).sum()) for kept in sorted({*contexts})}
    found = [kept for kept, count in targets.items() if count >= tokens]
    return found or [kept for kept, count in list(targets.items())[:1] if count]
