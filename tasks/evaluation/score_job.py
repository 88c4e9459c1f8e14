"""Score a token stream with a model, here or on a node of a cluster, and decide which scoring is worth handing over.

A network that a GPU trained in an hour would be scored for hours by the processor of the machine that asked for it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.environment import chosen_device
from core.store import Artifact
from evaluation.scoring.score import drawn_reviews, record_scores
from models.bundles.bundle import Bundle, load_bundle
from models.streams import TokenStream
from tasks.evaluation.fork_server import ModelWork, Report
from training.context import FitProgress

WEIGHTS = "*.safetensors"
"""Files of a bundle with the weights of networks; n-gram models have none."""
LEAST_WORK = 2e13
"""Bytes of weights × tokens from which scoring is handed over: about a minute of two cores. A node needs less to get
the job and to start a process."""


def run(work: ModelWork, report: Callable[[FitProgress], None]) -> dict[str, Any]:
    """Do a work with a model in a process of its own; return its facts."""
    return work(load_bundle(work.model, work.device), lambda done: report(FitProgress(done, 0)))


def is_worth_handing_over(config: RunConfig, bundle_folder: Path, tokens: Artifact) -> bool:
    """Return whether a node of `execution.cluster` scores a stream: if this machine has no GPU and needs long."""
    if not config.execution.cluster or chosen_device(config.execution.device) != "cpu":
        return False
    weights = sum(file.stat().st_size for file in bundle_folder.rglob(WEIGHTS))
    return weights * int(tokens.facts["tokens"]) >= LEAST_WORK


def scored(
    bundle: Bundle, report: Report, work: Path, tokens: Path, observed_reviews: int, seed: int
) -> dict[str, Any]:
    """Score a token stream, as a function for a `ModelWork`; return the facts of the scores.

    Args:
        bundle, report, work: See `tasks/evaluation/observed.py`.
        tokens: Folder of the stream.
        observed_reviews: Number of reviews whose tokens are also kept one by one.
        seed: Draws these.
    """
    stream = TokenStream.open(tokens)
    reviews = drawn_reviews(stream, observed_reviews, seed).tolist()
    return record_scores(bundle, stream, work, reviews, lambda done, total: report(done))
