"""Test that a version opens, scores as when it was saved, and predicts, before a user makes it champion.

The test runs in this process and takes seconds. The smoke test of the gate (`tracking/logged_models/export.py`) uses a
fresh process.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.errors import BundleError
from tracking.logged_models.bundles import task_of
from tracking.logged_models.forms import CLASSIFICATION
from tracking.logged_models.lookup import find_version
from tracking.logged_models.opening import open_champion, open_classifier_at
from tracking.registry.versions import Reference
from tracking.runs.runs import Tracker

if TYPE_CHECKING:
    from models.bundles.bundle import Bundle
    from models.classification.bundle import ClassifierBundle

PROMPT, TEXT = "The food was", "The food was good."
SUGGESTED, TOLERANCE = 3, 1e-3


@dataclass(frozen=True)
class LoadTest:
    """Answers of a version.

    Args:
        perplexity: Per token of a short text; None for a classifier.
        next_word: The most probable word after a prompt; "" for a classifier.
        label: Label of a short text; "" for a language model.
        probability: Of the label; None for a language model.
    """

    version: int
    seconds: float
    perplexity: float | None = None
    next_word: str = ""
    label: str = ""
    probability: float | None = None


def load_test(tracker: Tracker, model_name: str, version: int, device: str = "cpu") -> LoadTest:
    """Open a version's bundle, which checks what it says about its probe texts; then ask for what it can do.

    Raises:
        BundleError: There is no such version, its files are missing or damaged, or an answer is inconsistent.
        TrackingUnavailable: MLflow does not answer.
    """
    from models.base import ModelError

    start, address = time.perf_counter(), f"models:/{model_name}/{version}"
    entry = find_version(tracker, Reference(model_name, version=version))
    classifier = entry is not None and task_of(entry.folder) == CLASSIFICATION
    try:
        if classifier:
            bundle, _ = open_classifier_at(tracker, address, device)
            answers, consistent = _labels(bundle)
        else:
            opened, _ = open_champion(tracker, address, device)
            answers, consistent = _words(opened)
    except ModelError as error:
        raise BundleError(f"{address} does not answer", cause=str(error)) from error
    if not consistent:
        raise BundleError(f"{address} gives inconsistent answers", where=address, value=str(answers))
    return LoadTest(version, time.perf_counter() - start, **answers)


def _labels(bundle: ClassifierBundle) -> tuple[dict[str, Any], bool]:
    predicted = bundle.classify([TEXT])
    label, chances_NK = int(predicted.answers_N[0]), predicted.probabilities_NK
    answers = {"label": bundle.labels[label], "probability": float(chances_NK[0, label])}
    return answers, abs(float(chances_NK[0].sum()) - 1) <= TOLERANCE


def _words(bundle: Bundle) -> tuple[dict[str, Any], bool]:
    from models.sampling import suggest

    score, suggested = bundle.score_text(TEXT), suggest(bundle, PROMPT, SUGGESTED)
    total = sum(probability for _, probability in suggested.words) + suggested.rest
    answers = {
        "perplexity": math.exp(score.nats / score.tokens) if math.isfinite(score.nats) else math.nan,
        "next_word": suggested.words[0][0] if suggested.words else "",
    }
    return answers, math.isfinite(score.nats) and score.nats >= 0 and abs(total - 1) <= TOLERANCE
