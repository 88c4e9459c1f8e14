"""Score a token stream with an opened model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models.bundles.bundle import Bundle
from tasks.evaluation.score_job import ScoreJob, recorded
from tasks.measuring.model_work import Report


def scored(bundle: Bundle, report: Report, work: Path, job: str) -> dict[str, Any]:
    """Score a token stream; *job* is the text of a `ScoreJob`."""
    return recorded(ScoreJob.from_json(job), bundle, lambda done, total: report(done))
