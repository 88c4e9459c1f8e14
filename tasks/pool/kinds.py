"""Map each kind of pool job to its job class, its code version and its number of processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from core.config.run_config import RunConfig
from tasks.classification.fit import classifier_version
from tasks.classification.job import ClassifierJob
from tasks.evaluation.score_job import ScoreJob, score_version
from tasks.fitting.fit import fit_version, ranks_of
from tasks.fitting.job import Job, LanguageModelJob


@dataclass(frozen=True)
class Kind:
    """A kind of job that is handed over.

    Args:
        job: The class of its jobs.
        version: Returns the version of the code that makes the result with a model.
        ranks: Returns the number of processes that do it together, by the configuration.
    """

    job: type[Job]
    version: Callable[[Any], int | str]
    ranks: Callable[[RunConfig, Any], int]


KINDS = {
    LanguageModelJob.STAGE: Kind(
        LanguageModelJob, lambda job: fit_version(job.spec), lambda config, job: ranks_of(config, job.spec)
    ),
    ClassifierJob.STAGE: Kind(ClassifierJob, lambda job: classifier_version(job.spec), lambda config, job: 1),
    ScoreJob.STAGE: Kind(ScoreJob, lambda job: score_version(), lambda config, job: 1),
}
