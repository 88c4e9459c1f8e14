"""Hold what a run has made, once its models are measured and promoted or refused."""

from __future__ import annotations

from dataclasses import dataclass

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.store import Artifact
from reviewlm.tasks.data.prepare import Prepared
from reviewlm.tasks.evaluation.intervals import Evaluated
from reviewlm.tasks.execution.stage import WithoutFutures
from reviewlm.tasks.planning.plan import RunPlan
from reviewlm.tasks.promotion.promote import Promotion


@dataclass(frozen=True)
class FinishedRun(WithoutFutures):
    """A run with its settings, data, measured models and decision: what its report and its summary show.

    Args:
        config: Its settings.
        dataset: The ingested reviews, with the account of this run's files.
        prepared: The reviews as the models read them.
        evaluated: The measured models.
        promotion: Result of the gate; None if the gate was not run.
        run_id: Its MLflow run.
        plan: The plan of a run for a time budget; None for others.
    """

    config: RunConfig
    dataset: Artifact
    prepared: Prepared
    evaluated: Evaluated
    promotion: Promotion | None
    run_id: str
    plan: RunPlan | None = None
