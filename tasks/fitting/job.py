"""Describe a job for its processes (model, data, resources), how it ended, and a model that was fitted."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from reviewlm.core.store import Artifact
from reviewlm.models.bundles.bundle import SPEC
from reviewlm.models.classification.spec import ClassifierSpec
from reviewlm.models.specs import ModelSpec
from reviewlm.training.context import FitProgress, Pace
from reviewlm.training.fit import libraries_of

FIT = "fit"
FIT_CLASSIFIER = "fit-classifier"
"""Stages that fit the models of each family; a stage's code is that of its worker."""
BUNDLE_FOLDER = "bundle"
BUNDLE_SPEC = f"{BUNDLE_FOLDER}/{SPEC}"
PART = "part "
"""Beginning of the name of a part among the inputs."""
PROBES = (
    ("The food was great and the staff were very friendly.", 5),
    ("It was okay, but I would not go back.", 3),
    ("We waited an hour and the server was rude!", 1),
)
"""Texts and stars whose scores are stored with a fitted model, and compared whenever it is opened."""


Report = Callable[[FitProgress], None]
"""Gets how far a work in a process is."""
FittedSpec = ModelSpec | ClassifierSpec
"""Options of a fitted model; each has `name`, `kind` and `vocabulary`."""


@dataclass(frozen=True)
class Fitted:
    """A fitted model of any family, in the store.

    Args:
        spec: Its options; of a classifier, with the labels.
        run_id: The MLflow run that describes it.
        reused: The store had it.
    """

    spec: Any
    artifact: Artifact
    run_id: str
    reused: bool

    @property
    def bundle(self) -> Path:
        """The folder with `spec.json`."""
        return self.artifact.folder / BUNDLE_FOLDER


@dataclass(frozen=True)
class MeasuredModel:
    """A fitted model with its scores, or its predictions, on both held-out splits."""

    fitted: Fitted
    test: Artifact
    validation: Artifact

    @property
    def name(self) -> str:
        """The model's name in tables."""
        return str(self.fitted.spec.name)

    @property
    def measurements(self) -> tuple[Artifact, ...]:
        """Measured token streams, for the lineage record."""
        return self.test, self.validation


@dataclass(frozen=True)
class Answer:
    """The end of a work in a process: its summary, or the error that is raised again elsewhere, or a traceback."""

    summary: Mapping[str, Any] = field(default_factory=dict)
    error: Exception | None = None
    crash: str = ""


@dataclass(frozen=True, kw_only=True)
class FitJob:
    """Order to fit a model, for the processes of a fit on this machine or another one.

    Args:
        work: Folder for checkpoints, journal and bundle.
        train: Folder of the token stream to fit on.
        validation: Folder of the token stream to choose by.
        facts: Facts that are stored in the bundle.
        parts: Bundles of the fitted models that this one is made of, by name.
        vectors: Folder of the word vectors that the embedding starts from; None: the model has none.
        gpus: The GPUs that the job holds, as places among the visible ones; empty: its processes see all.
        ranks: Number of processes that do the job together.
        init_method: Address where the ranks meet ("init_method" of torch.distributed).
        rank: The only rank that runs on this machine; None: all of them.
    """

    WORKER: ClassVar[str]
    """Module that the processes run; its argument is the file with the job."""

    work: Path
    spec: Any
    vocabulary: Path
    train: Path
    validation: Path
    facts: Mapping[str, Any]
    parts: Mapping[str, Path] = field(default_factory=dict)
    vectors: Path | None = None
    device: str = "cpu"
    threads: int = 1
    ranks: int = 1
    init_method: str = "env://"
    rank: int | None = None
    gpus: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Name in messages."""
        return str(self.spec.name)

    @property
    def remedy(self) -> str:
        """Remedy where a process was killed, most likely for lack of memory."""
        return (
            f"give it more memory, or a smaller batch (models.{self.name}.training.batch); a rerun resumes from the "
            "checkpoint"
        )

    @property
    def bundle(self) -> Path:
        """Folder of the fitted model."""
        return self.work / BUNDLE_FOLDER

    @property
    def libraries(self) -> tuple[str, ...]:
        """Modules whose import takes most of the start of its process."""
        return ()

    @property
    def may_be_forked(self) -> bool:
        """Whether one forked process can do it: several meet each other, and GPUs and clusters do not live on in a fork."""
        return self.device == "cpu" and self.ranks == 1 and self.rank is None

    @property
    def inputs(self) -> list[Path]:
        """Files and folders that the processes read."""
        values = [getattr(self, each.name) for each in fields(self) if each.name != "work"]
        inner: list[Any] = []
        for value in values:
            if isinstance(value, Mapping):
                inner.extend(value.values())

        return [value for value in (*values, *inner) if isinstance(value, Path)]

    def moved(self, root: Path, work: Path) -> Self:
        """Return the job with all `inputs` below another root, and another work folder."""

        def move(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {name: move(item) for name, item in value.items()}
            if isinstance(value, Path):
                return root / place_of(value)
            return value

        values = {each.name: move(getattr(self, each.name)) for each in fields(self)}
        values["work"] = work
        return replace(self, **values)


def place_of(path: Path) -> str:
    """Return the place of an input below another root."""
    return os.path.normpath(path).lstrip(os.sep)


@dataclass(frozen=True, kw_only=True)
class LanguageModelJob(FitJob):
    """Fit of a language model.

    Args:
        cluster: Address of the cluster that counts n-grams; None: threads do.
        storage: Storage that its nodes reach; empty: none.
        init_weights: Bundle that the fit starts from (warm start).
        pace: Time limit, at whose end the training stops before its decay, without a bundle; None: train to the end.
    """

    WORKER: ClassVar[str] = "reviewlm.tasks.fitting.fit_worker"

    spec: ModelSpec
    cluster: str | None = None
    storage: str = ""
    init_weights: Path | None = None
    pace: Pace | None = None

    @property
    def libraries(self) -> tuple[str, ...]:
        """Modules whose import takes most of the start of its process."""
        return libraries_of(self.spec.kind)

    @property
    def may_be_forked(self) -> bool:
        """Whether one forked process can do it: a cluster does not live on in a fork, either."""
        return super().may_be_forked and self.cluster is None


@dataclass(frozen=True, kw_only=True)
class ClassifierJob(FitJob):
    """Fit of a classifier; its `spec` has the labels.

    Args:
        label: What is predicted, see `labelling_of` of `tasks/classification/labelling.py`.
        labels: Folder of the stage `labels`, if that is a field of the files.
        train_reviews: Number of training reviews whose label may be used, drawn at random; None: all.
        seed: Draws these reviews.
    """

    WORKER: ClassVar[str] = "reviewlm.tasks.classification.fit_worker"

    spec: ClassifierSpec
    label: str
    labels: Path | None = None
    train_reviews: int | None = None
    seed: int = 1
