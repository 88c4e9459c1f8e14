"""Hold a fitted language model or classifier: spec, artifact, run and bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from core.store import Artifact
from models.classification.spec import ClassifierSpec
from models.specs import ModelSpec
from tasks.fitting.job import BUNDLE_FOLDER

FittedSpec = ModelSpec | ClassifierSpec
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


AnyFitted = StoredFit[FittedSpec]
Fitted = StoredFit[ModelSpec]
FittedClassifier = StoredFit[ClassifierSpec]
