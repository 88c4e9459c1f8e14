"""Describe the fit of a classifier for its process.

Read the lexicons that classifiers count words of: one artifact for each file, identified by its SHA-256.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from core.config.run_config import RunConfig
from core.model_errors import converted_errors
from core.store import Artifact
from corpus.reading.sources import identify
from models.classification.features.lexicons import load_lexicons, read_lexicon, save_lexicons
from models.classification.spec import ClassifierSpec, classifier_from_dict
from tasks.fitting.job import FitJob
from tasks.stage import run_stage, show_facts, store_of

LEXICON_STAGE = "lexicon"
LEXICON = "lexicon "
"""Beginning of the name of a lexicon among the inputs of a fit."""
LEXICON_FILE = "lexicon.json"


def reads_texts(spec: ClassifierSpec) -> bool:
    """Return whether a classifier counts lexicons or patterns, which are found in texts and not in tokens."""
    return bool(getattr(spec, "lexicons", ()) or getattr(spec, "patterns", {}))


@dataclass(frozen=True, kw_only=True)
class ClassifierJob(FitJob):
    """Fit of a classifier; its `spec` has the labels.

    Args:
        label: What is predicted, see `labelling_of` of `tasks/classification/labelling.py`.
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


def lexicons_of(config: RunConfig, spec: Any) -> dict[str, Artifact]:
    """Return the artifact of each lexicon of a classifier, by name; empty for one without.

    Raises:
        Unreadable: A file cannot be read, or changed while it was read.
        InputError: A line of it is not an entry; the message names the line.
    """
    return {name: read(config, name, Path(config.lexicons[name])) for name in getattr(spec, "lexicons", ())}


def read(config: RunConfig, name: str, path: Path) -> Artifact:
    """Return the artifact with the entries of one file; errors as in `lexicons_of`."""
    source = identify(path, name, store_of(config).root / ".files")

    def make(work: Path) -> dict[str, Any]:
        with converted_errors(path):
            lexicon = read_lexicon(source.path)
        source.require_unchanged()
        save_lexicons(work / LEXICON_FILE, {"": lexicon})
        return {"name": name, "path": str(source.path.absolute()), "entries": len(lexicon)}

    built = run_stage(config, LEXICON_STAGE, {}, {"file": source.sha256}, make, name)
    show_facts(f"lexicon-{name}", built.artifact, built.reused)
    return built.artifact


def entries(folder: Path) -> dict[str, float]:
    """Return the entries of a lexicon's artifact, with their weights."""
    return dict(load_lexicons(folder / LEXICON_FILE)[""])
