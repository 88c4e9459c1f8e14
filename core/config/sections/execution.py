"""Define the section `execution`: home, device, parallelism, MLflow address, cluster.

Define the settings of `reviewlm home gc`, which removes what no recent run or version needs.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from core.config.section import Line, Section
from core.environment import TRACKING_VARIABLE
from models.options import MOST_WHOLE, Count, Number, Whole

Stage = Literal[
    "synthesise", "read", "ingest", "check", "prepare", "card", "canaries", "vocabulary", "tokens", "plan", "pace",
    "fit", "score", "samples", "observe", "reference", "audit", "floor", "intervals", "unlearnt",
    "drift", "rescore", "labels", "vectors", "embed",
    "fit-classifier", "predict", "compare-classifiers", "punctuation",
]
"""All stages, each of which can be built again: those of `docs/reference/stages.md`."""


class ExecutionConfig(Section):
    """Settings of where and how to run. They are part of no digest: they must not change a result beyond rounding.

    Attributes:
        home: Home folder: store, databases, reports. `REVIEWLM_HOME` wins over it.
        group_access: Open the home folder to its group; otherwise only its owner can read it.
        device: Device of neural fits and scores.
        workers: Fits, or other stages that do not need each other, that run in parallel.
        threads: Threads of each fit; 0: the cores are divided among the workers.
        ranks: Processes of each neural fit, which divide each batch and the threads; 0: one per visible GPU, as long as
            each has at least 64 rows of the batch.
        tracking_uri: MLflow server or database; empty: a SQLite file in the home folder. `REVIEWLM_TRACKING_URI` in the
            environment is used where the setting is not written.
        tracking_patience: Seconds to wait for the MLflow server where a flow cannot continue without it. All other
            writes are kept and sent when it is back.
        cluster: Ray cluster that fits the networks, scores them where this machine has no GPU and needs long, and does
            the parts of large work (cleaning, near-duplicates, words, tokens, n-grams): "HOST:PORT" or "auto" on one of
            its nodes, "ray://HOST:PORT" elsewhere, "local" for one of this machine alone. Empty: none.
        gpu_share: GPU that each process of a fit gets in the cluster; 0.25: four small networks share one.
        experiment: Experiment in MLflow.
        rebuild: Stages to build again.
    """

    home: Line = ".reviewlm"
    group_access: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: Annotated[Whole, Field(ge=1, le=4_096)] = 1
    threads: Annotated[Whole, Field(ge=0, le=4_096)] = 0
    ranks: Annotated[Whole, Field(ge=0, le=4_096)] = 1
    tracking_uri: Line = Field(default_factory=lambda: os.environ.get(TRACKING_VARIABLE, ""))
    tracking_patience: Annotated[Number, Field(ge=0, le=1_000_000)] = 120.0
    cluster: Annotated[Line, Field(pattern=r"^(|local|auto|(ray://)?[^/\s]+:\d+)$")] = ""
    gpu_share: Annotated[Number, Field(gt=0, le=1)] = 1.0
    experiment: Annotated[Line, Field(min_length=1, max_length=200)] = "reviewlm"
    rebuild: tuple[Stage, ...] = ()

    @model_validator(mode="after")
    def _store_can_be_reached(self) -> ExecutionConfig:
        address = urlsplit(self.tracking_uri)
        if address.password:
            raise ValueError(
                "tracking_uri contains a password, which would be stored with every result: put it in ~/.pgpass or "
                "PGPASSWORD (PostgreSQL), or in MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (MLflow server)"
            )
        if address.scheme == "postgres":
            raise ValueError("tracking_uri begins with 'postgres:'; write postgresql://USER@HOST/DATABASE")
        if address.scheme.startswith("postgresql") and find_spec("psycopg2") is None:
            raise ValueError(
                "tracking_uri is a PostgreSQL address, which needs psycopg2: "
                "pip install -c constraints.txt -e '.[postgres]'"
            )
        return self


class UpkeepConfig(Section):
    """Settings for the removal of stored results, reports and MLflow files that are not needed any more.

    They count for no stage's digest.

    Attributes:
        runs: Newest finished runs (`run`, `train`, `evaluate`) whose results, reports and logged models are kept.
        versions: Newest versions of each registered model whose whole lineage is kept, beside those with an alias.
        refused: Newest versions of each registered model that are kept although the gate refused them. Older ones are
            deleted, unless they have an alias or were ever champion; their decisions and runs stay.
    """

    runs: Count = 5
    versions: Annotated[Whole, Field(ge=0, le=MOST_WHOLE)] = 3
    refused: Annotated[Whole, Field(ge=1, le=MOST_WHOLE)] = 10
