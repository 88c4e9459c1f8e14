"""Hold a fitted language model, classifier or set of word vectors: spec, artifact, run and bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from core.config.sections.embedding import EmbeddingConfig
from core.store import Artifact
from models.base import EARLIER_SECONDS
from models.classification.spec import ClassifierSpec
from models.specs import ModelSpec
from tasks.fitting.job import BUNDLE_FOLDER

FittedSpec = ModelSpec | ClassifierSpec | EmbeddingConfig
"""Options of a fitted model; each has `name`, `kind` and `vocabulary`."""
Spec = TypeVar("Spec", bound=FittedSpec, covariant=True)


@dataclass(frozen=True)
class StoredFit(Generic[Spec]):
    """A fitted model of any family, in the store.

    Args:
        spec: Its options; of a classifier, with the labels.
        artifact: The result of the stage that fitted it.
        run_id: The MLflow run that describes it.
        reused: The store had it.
    """

    spec: Spec
    artifact: Artifact
    run_id: str
    reused: bool

    @property
    def bundle(self) -> Path:
        """The folder with `spec.json`."""
        return self.artifact.folder / BUNDLE_FOLDER


def fit_seconds(fit: Artifact) -> float | None:
    """Return the wall time of a fit; see `seconds_of`."""
    return seconds_of(fit.manifest)


def seconds_of(manifest: Mapping[str, Any]) -> float | None:
    """Return the wall time of a stage, and of the updates that interrupted processes of a fit had done before.

    The time of their other work is not known: evaluations, and updates after the last checkpoint. The result is never
    below the time of all updates, because a worker of a pool may train while no stage waits for it. None: not recorded.
    """
    seconds, summary = manifest.get("seconds"), manifest.get("facts", {}).get("summary")
    if seconds is None or not isinstance(summary, Mapping):
        return None if seconds is None else float(seconds)
    return float(max(seconds + summary.get(EARLIER_SECONDS, 0.0), summary.get("seconds", 0.0)))


AnyFitted = StoredFit[FittedSpec]
Fitted = StoredFit[ModelSpec]
FittedClassifier = StoredFit[ClassifierSpec]
FittedVectors = StoredFit[EmbeddingConfig]
