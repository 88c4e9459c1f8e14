"""Define the protocol `AnyFitted` (spec, artifact, run, bundle) of language models, classifiers and word vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from core.config.sections.embedding import EmbeddingConfig
from core.store import Artifact
from models.classification.spec import ClassifierSpec
from models.specs import ModelSpec

FittedSpec = ModelSpec | ClassifierSpec | EmbeddingConfig
"""Options of a fitted model; each has `name`, `kind` and `vocabulary`."""


class AnyFitted(Protocol):
    """A fitted model of any family."""

    @property
    def spec(self) -> FittedSpec:
        """Its options."""

    @property
    def artifact(self) -> Artifact:
        """The result of the stage that fitted it."""

    @property
    def run_id(self) -> str:
        """The MLflow run that describes it."""

    @property
    def bundle(self) -> Path:
        """The folder with `spec.json`."""
