"""Measure how useful a model's next-word suggestions would have been to the author of a review."""

from __future__ import annotations

import numpy as np
import polars as pl

HITS = (1, 3, 5)


def usefulness(tokens: pl.DataFrame, bytes_typed: int) -> dict[str, float]:
    """Return how often the true next token is among the k most probable ones, and the share of keys saved.

    `<unk>` is never suggested, so an unknown token counts as missed. The end token counts as a suggestion. Ties go to
    the lower id. Hits and MRR are per token: they compare models of one vocabulary. Keystroke savings are per byte of
    text and compare any models (`evaluation/scoring/keystrokes.py` describes how typing is simulated).

    Args:
        tokens: Result of `evaluation.scoring.observe.observe`.
        bytes_typed: Length of the observed texts, ends included.

    Returns:
        hit@1, hit@3, hit@5, mrr (mean of 1/rank, 0 if the token was not suggested), keystroke_savings.
    """
    rank_N = tokens["suggestion"].cast(pl.Float64).fill_null(np.inf).to_numpy()
    found = {f"hit@{k}": float((rank_N <= k).mean()) for k in HITS}
    found["mrr"] = float((1 / rank_N).mean())
    return {**found, "keystroke_savings": int(tokens["keys_spared"].sum()) / bytes_typed}
