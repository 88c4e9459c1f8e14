"""Score a token stream in a separate process: `python -m tasks.evaluation.score_worker JOB.json`."""

from __future__ import annotations

from typing import Any

from models.bundles.bundle import load_bundle
from tasks.evaluation.score_job import ScoreJob, recorded
from tasks.fitting.worker import report_progress, run_worker
from training.context import FitProgress


def run(job: ScoreJob) -> dict[str, Any]:
    """Score the stream of a job into its work folder, and return the facts of the scores."""
    bundle = load_bundle(job.model, job.device)
    return recorded(job, bundle, lambda done, total: report_progress(FitProgress(done, total, {})))


def main() -> int:
    """Run the job named on the command line; see `run_worker` for the exit code."""
    return run_worker(lambda text: run(ScoreJob.from_json(text)))


if __name__ == "__main__":
    raise SystemExit(main())
