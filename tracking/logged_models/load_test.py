"""Test that a version opens, scores as when it was saved, and predicts, before a user makes it champion.

The test runs in this process and takes seconds. The smoke test of the gate (`tracking/logged_models/export.py`) uses a
fresh process.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from core.errors import BundleError
from tracking.logged_models.opening import open_champion
from tracking.runs.runs import Tracker

PROMPT, TEXT = "The food was", "The food was good."
SUGGESTED, TOLERANCE = 3, 1e-3


@dataclass(frozen=True)
class LoadTest:
    """Answers of a version. `perplexity` is per token of a short text."""

    version: int
    seconds: float
    perplexity: float
    next_word: str


def load_test(tracker: Tracker, model_name: str, version: int, device: str = "cpu") -> LoadTest:
    """Open a version's bundle, which checks the scores of its probe texts; then score a text and suggest words.

    Raises:
        BundleError: There is no such version, its files are missing or damaged, or an answer is inconsistent.
        TrackingUnavailable: MLflow does not answer.
    """
    from models.base import ModelError
    from models.sampling import suggest

    start = time.perf_counter()
    address = f"models:/{model_name}/{version}"
    bundle, _ = open_champion(tracker, address, device)
    try:
        score, found = bundle.score_text(TEXT), suggest(bundle, PROMPT, SUGGESTED)
    except ModelError as error:
        raise BundleError(f"{address} does not answer", cause=str(error)) from error
    total = sum(probability for _, probability in found.words) + found.rest
    if not (math.isfinite(score.nats) and score.nats >= 0 and abs(total - 1) <= TOLERANCE):
        raise BundleError(
            f"{address} gives inconsistent answers", where=address,
            value=f"{score.nats} nats, probabilities of the next word sum to {total}",
        )
    word = found.words[0][0] if found.words else ""
    return LoadTest(version, time.perf_counter() - start, math.exp(score.nats / score.tokens), word)
