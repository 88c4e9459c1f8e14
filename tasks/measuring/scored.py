"""Score a token stream with an opened model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evaluation.scoring.part_scores import PartScores
from models.bundles.bundle import Bundle
from tasks.evaluation.score_job import ScoreJob, recorded
from tasks.measuring.model_work import Report


def scored(bundle: Bundle, report: Report, work: Path, job: str, shared: str = "") -> dict[str, Any]:
    """Score a token stream.

    Args:
        bundle, report, work: See the module.
        job: Text of a `ScoreJob`.
        shared: Folder of `PartScores`; "": there is none.
    """
    parts = PartScores(Path(shared)) if shared else None
    return recorded(ScoreJob.from_json(job), bundle, lambda done, total: report(done), beside=parts)
