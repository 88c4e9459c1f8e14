"""Describe the fit of a classifier for its process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from models.classification.spec import ClassifierSpec, classifier_from_dict
from tasks.classification.lexicons import INPUT as LEXICON
from tasks.fitting.job import FitJob


def reads_texts(spec: ClassifierSpec) -> bool:
    """Return whether a classifier counts lexicons or patterns, which are found in texts and not in tokens."""
    return bool(getattr(spec, "lexicons", ()) or getattr(spec, "patterns", {}))


@dataclass(frozen=True, kw_only=True)
class ClassifierJob(FitJob):
    """Fit of a classifier; its `spec` has the labels.

    Args:
        label: What is predicted, see `labelling_of` of `tasks/classification/labels/labelling.py`.
        labels: Folder of the stage `labels`, if that is a field of the files.
        train_reviews: Number of training reviews whose label may be used, drawn at random; None: all.
        seed: Draws these reviews.
        clean: Folder of the prepared data, if lexicons or patterns are counted in its texts.
        lexicons: Folder of each lexicon, by name.
    """

    STAGE: ClassVar[str] = "fit-classifier"
    WORKER: ClassVar[str] = "tasks.classification.fit_worker"

    spec: ClassifierSpec
    label: str
    labels: Path | None = None
    train_reviews: int | None = None
    seed: int = 1
    clean: Path | None = None
    lexicons: Mapping[str, Path] = field(default_factory=dict)

    @property
    def inputs(self) -> dict[str, Path]:
        """Files and folders that the processes read, by name."""
        folders = {"labels": self.labels, "clean": self.clean}
        lexicons = {f"{LEXICON}{name}": folder for name, folder in self.lexicons.items()}
        return {**super().inputs, **{name: one for name, one in folders.items() if one is not None}, **lexicons}

    def moved(self, inputs: Mapping[str, Path], work: Path) -> Self:
        """Return the job with other places for all `inputs`, and another work folder."""
        lexicons = {name.removeprefix(LEXICON): path for name, path in inputs.items() if name.startswith(LEXICON)}
        rest = {name: path for name, path in inputs.items() if not name.startswith(LEXICON)}
        return replace(super().moved(rest, work), lexicons=lexicons)

    @classmethod
    def _read(cls, values: dict[str, Any]) -> dict[str, Any]:
        labels, clean = (None if values[name] is None else Path(values[name]) for name in ("labels", "clean"))
        lexicons = {name: Path(folder) for name, folder in values["lexicons"].items()}
        spec = classifier_from_dict(values["spec"])
        return {**super()._read(values), "spec": spec, "labels": labels, "clean": clean, "lexicons": lexicons}
