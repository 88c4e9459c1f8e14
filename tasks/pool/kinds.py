"""Say what a worker of a pool must know of each kind of fit, by the name of its stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from core.config.run_config import RunConfig
from tasks.classification.fit import classifier_version
from tasks.classification.job import ClassifierJob
from tasks.fitting.fit import fit_version, ranks_of
from tasks.fitting.job import FitJob, Job


@dataclass(frozen=True)
class Kind:
    """A kind of fit that is handed over.

    Args:
        job: The class of its jobs.
        version: Returns the version of the code that fits a model.
        ranks: Returns the number of processes that fit a model with a configuration.
    """

    job: type[Job]
    version: Callable[[Any], int | str]
    ranks: Callable[[RunConfig, Any], int]


KINDS = {
    FitJob.STAGE: Kind(FitJob, fit_version, ranks_of),
    ClassifierJob.STAGE: Kind(ClassifierJob, classifier_version, lambda config, spec: 1),
}
