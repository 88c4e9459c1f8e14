"""Observe a model at every token of a sample of test reviews: scores, usefulness, calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.store import Artifact, Built
from tasks.fitting.fit import bundle_digest
from tasks.gpus import OpenBundle
from tasks.measuring.model_work import ModelWork
from tasks.measuring.observed import observed
from tasks.measuring.processes import with_model
from tasks.stage import run_stage

OPTIONS = {"observed_reviews", "seed"}


def observe_bundle(
    config: RunConfig, bundle_folder: Path, tokens: dict[str, Artifact], scores: Artifact, label: str,
    shared: Path | None = None,
) -> Built:  # fmt: skip
    """Return token scores, usefulness and calibration of a bundle on the observed test reviews.

    Args:
        config: Number of reviews.
        bundle_folder: Folder of the model's bundle.
        tokens: Token streams in its vocabulary, by split.
        scores: Scores of this bundle on the test split.
        label: Name in messages.
        shared: Folder for the features of networks, which a mixture and its parts share (`features_kept`).
    """
    options = config.evaluation.model_dump(mode="json", include=OPTIONS)

    def make(work: Path) -> dict[str, Any]:
        streams = {split: str(tokens[split].folder) for split in ("test", "validation", "train")}
        named = {"options": options, "streams": streams, "scores": str(scores.folder), "shared": str(shared or "")}
        return with_model(ModelWork(observed, label, bundle_folder, work, named), opened)

    inputs = {
        "bundle": bundle_digest(bundle_folder), "scores": scores.digest,
        **{split: tokens[split].digest for split in ("train", "validation", "test")},
    }  # fmt: skip
    with OpenBundle(config, bundle_folder) as opened:
        return run_stage(config, "observe", options, inputs, make, label)
