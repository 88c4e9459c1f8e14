"""Describe one fit for its processes: what to fit, on which data, and with which resources."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from models.base import Pace
from models.specs import ModelSpec, spec_from_dict

BUNDLE_FOLDER = "bundle"


@dataclass(frozen=True)
class FitJob:
    """All that a process of a fit needs to know.

    Args:
        spec: The model.
        vocabulary: File of the vocabulary.
        train: Folder of the token stream to fit on.
        validation: Folder of the token stream to choose by.
        work: Folder for checkpoints, journal and bundle.
        facts: Facts that are stored in the bundle.
        device: "cpu" or "cuda".
        threads: Threads of each process.
        gpus: The GPUs that the fit holds, as places among the visible ones; empty: its processes see all.
        ranks: Number of processes that train the model together.
        parts: Bundles of the fitted parts of a mixture, by name.
        dask: Address of the Dask scheduler that counts n-grams, "" for a local cluster, None for no Dask.
        init_weights: Bundle that the fit starts from (warm start).
        system_metrics_seconds: Seconds between two samples of the resource use; 0: take none.
        pace: Time limit, at whose end the training stops before its decay, without a bundle; None: train to the end.
        init_method: Address where the ranks meet ("init_method" of torch.distributed).
    """

    spec: ModelSpec
    vocabulary: Path
    train: Path
    validation: Path
    work: Path
    facts: Mapping[str, Any]
    device: str = "cpu"
    threads: int = 1
    ranks: int = 1
    parts: Mapping[str, Path] = field(default_factory=dict)
    dask: str | None = None
    init_weights: Path | None = None
    system_metrics_seconds: float = 0.0
    pace: Pace | None = None
    init_method: str = "env://"
    gpus: tuple[int, ...] = ()

    @property
    def bundle(self) -> Path:
        """Folder of the fitted model."""
        return self.work / BUNDLE_FOLDER

    def to_json(self) -> str:
        """Return the job as JSON text for `from_json`."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> FitJob:
        """Read the job that `to_json` wrote."""
        values = json.loads(text)
        paths = {name: Path(values[name]) for name in ("vocabulary", "train", "validation", "work")}
        parts = {name: Path(folder) for name, folder in values["parts"].items()}
        weights = None if values["init_weights"] is None else Path(values["init_weights"])
        pace = None if values["pace"] is None else Pace(**values["pace"])
        read = {"spec": spec_from_dict(values["spec"]), "parts": parts, "init_weights": weights, "pace": pace}
        return cls(**{**values, **paths, **read, "gpus": tuple(values["gpus"])})
