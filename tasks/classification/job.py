"""Describe the fit of a classifier for its process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from models.classification.spec import ClassifierSpec, classifier_from_dict
from tasks.fitting.job import Job


@dataclass(frozen=True, kw_only=True)
class ClassifierJob(Job):
    """Fit of a classifier; its `spec` has the labels.

    Args:
        label: What is predicted, see `labelling_of` of `tasks/classification/labels/labelling.py`.
        labels: Folder of the stage `labels`, if that is a field of the files.
        train_reviews: Number of training reviews whose label may be used, drawn at random; None: all.
        seed: Draws these reviews.
        clean: Folder of the prepared data, whose texts are read for lexicons and patterns.
        lexicons: Folder of each lexicon, by name.
    """

    WORKER: ClassVar[str] = "tasks.classification.fit_worker"

    spec: ClassifierSpec
    label: str
    labels: Path | None = None
    train_reviews: int | None = None
    seed: int = 1
    clean: Path | None = None
    lexicons: Mapping[str, Path] = field(default_factory=dict)

    @classmethod
    def _read(cls, values: dict[str, Any]) -> dict[str, Any]:
        labels, clean = (None if values[name] is None else Path(values[name]) for name in ("labels", "clean"))
        lexicons = {name: Path(folder) for name, folder in values["lexicons"].items()}
        spec = classifier_from_dict(values["spec"])
        return {**super()._read(values), "spec": spec, "labels": labels, "clean": clean, "lexicons": lexicons}
