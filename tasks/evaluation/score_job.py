"""Describe the scoring of a network for a node of a cluster, and decide which scoring is worth handing over.

A network that a GPU trained in an hour would be scored for hours by the processor of the machine that asked for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from core.config.run_config import RunConfig
from core.environment import chosen_device
from core.store import Artifact
from evaluation.scoring.score import drawn_reviews, record_scores
from models.bundles.bundle import Bundle, load_bundle
from models.streams import TokenStream
from tasks.evaluation.fork_server import Report
from tasks.fitting.job import Job
from training.context import FitProgress

WEIGHTS = "*.safetensors"
"""Files of a bundle with the weights of networks; n-gram models have none."""
LEAST_WORK = 2e13
"""Bytes of weights × tokens from which scoring is handed over: about a minute of two cores. A node needs less to get
the job and to start a process."""


@dataclass(frozen=True, kw_only=True)
class ScoreJob(Job):
    """Scoring of one token stream with one model; `work` is for the scores.

    Args:
        model: Folder of the bundle.
        tokens: Folder of the token stream.
        observed_reviews: Number of reviews whose tokens are also kept one by one.
        seed: Draws these.
    """

    WORKER: ClassVar[str] = "tasks.evaluation.score_job"
    DEED: ClassVar[str] = "scoring"

    label: str
    model: Path
    tokens: Path
    observed_reviews: int
    seed: int

    @property
    def name(self) -> str:
        """Name in messages."""
        return self.label


def run(job: ScoreJob, report: Callable[[FitProgress], None]) -> dict[str, Any]:
    """Score the stream of a job into its work folder, in a process of its own; return the facts of the scores."""
    total = len(TokenStream.open(job.tokens))
    return scored(load_bundle(job.model, job.device), lambda done: report(FitProgress(done, total)), job.work, job)


def is_worth_handing_over(config: RunConfig, bundle_folder: Path, tokens: Artifact) -> bool:
    """Return whether a node of `execution.cluster` scores a stream: if this machine has no GPU and needs long."""
    if not config.execution.cluster or chosen_device(config.execution.device) != "cpu":
        return False
    weights = sum(file.stat().st_size for file in bundle_folder.rglob(WEIGHTS))
    return weights * int(tokens.facts["tokens"]) >= LEAST_WORK


def scored(bundle: Bundle, report: Report, work: Path, job: ScoreJob) -> dict[str, Any]:
    """Score the stream of a job into *work*, as a function for a `ModelWork`; return the facts of the scores."""
    stream = TokenStream.open(job.tokens)
    reviews = drawn_reviews(stream, job.observed_reviews, job.seed).tolist()
    return record_scores(bundle, stream, work, reviews, lambda done, total: report(done))
