"""Test that a version opens, scores as when it was saved, and predicts, before a user makes it champion.

The test runs in this process and takes seconds. The smoke test of the gate (`tracking/logged_models/export.py`) uses a
fresh process.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from core.errors import BundleError
from tracking.logged_models.bundles import task_of
from tracking.logged_models.forms import CLASSIFICATION
from tracking.logged_models.lookup import find_version
from tracking.logged_models.opening import open_champion, open_classifier_at
from tracking.registry.versions import Reference
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


@dataclass(frozen=True)
class ClassifierLoadTest:
    """Answers of a version of a classifier: the label of a short text, and its probability if there is one."""

    version: int
    seconds: float
    label: str
    probability: float | None


def load_test(
    tracker: Tracker, model_name: str, version: int, device: str = "cpu"
) -> LoadTest | ClassifierLoadTest:
    """Open a version's bundle, which checks what it says about its probe texts; then ask for what it can do.

    Raises:
        BundleError: There is no such version, its files are missing or damaged, or an answer is inconsistent.
        TrackingUnavailable: MLflow does not answer.
    """
    found = find_version(tracker, Reference(model_name, version=version))
    task = task_of(found.folder) if found is not None else ""
    if task == CLASSIFICATION:
        return _classifier(tracker, model_name, version, device)
    return _language_model(tracker, model_name, version, device)


def _classifier(tracker: Tracker, model_name: str, version: int, device: str) -> ClassifierLoadTest:
    start, address = time.perf_counter(), f"models:/{model_name}/{version}"
    bundle, _ = open_classifier_at(tracker, address, device)
    answered = bundle.classify([TEXT])
    label, chances_NK = int(answered.answers_N[0]), answered.probabilities_NK
    total = 1.0 if chances_NK is None else float(chances_NK[0].sum())
    if not abs(total - 1) <= TOLERANCE:
        raise BundleError(
            f"{address} gives inconsistent answers", where=address, value=f"probabilities that sum to {total}"
        )
    probability = None if chances_NK is None else float(chances_NK[0, label])
    return ClassifierLoadTest(version, time.perf_counter() - start, bundle.labels[label], probability)


def _language_model(tracker: Tracker, model_name: str, version: int, device: str) -> LoadTest:
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
