"""Define the settings of a machine: home, device, cluster, MLflow's address, upkeep, and the server of a model."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from reviewlm.core.config.section import Line, Section
from reviewlm.core.environment import TRACKING_VARIABLE
from reviewlm.core.extras import install_command
from reviewlm.models.options import MOST_WHOLE, Count, Number, Whole

Stage = Literal[
    "synthesise",
    "read",
    "ingest",
    "check",
    "prepare",
    "card",
    "canaries",
    "vocabulary",
    "tokens",
    "plan",
    "pace",
    "fit",
    "score",
    "samples",
    "observe",
    "reference",
    "audit",
    "floor",
    "intervals",
    "unlearnt",
    "drift",
    "rescore",
    "labels",
    "vectors",
    "embed",
    "fit-classifier",
    "predict",
    "compare-classifiers",
    "punctuation",
    "pictures",
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
        cluster: Ray cluster that fits the networks, scores them if this machine has no GPU and would be slow, and does
            the parts of large work (cleaning, near-duplicates, words, tokens, n-grams): "HOST:PORT" or "auto" on one of
            its nodes, "ray://HOST:PORT" elsewhere, "local" for one of this machine alone. Empty: none.
        storage: Folder that all nodes of the cluster see by this name, or "s3://BUCKET/PREFIX": parts of large work are
            files there, and a lost node loses none. Empty: they stay in the memory and on the disks of the nodes.
        gpu_share: Share of a GPU that each process of a fit gets in the cluster; 0.25: four small networks share one.
        experiment: Experiment in MLflow. Empty: the name of the registered model, so data do not mix.
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
    storage: Annotated[Line, Field(pattern=r"^(|/.*|s3://[^/\s]+.*)$")] = ""
    gpu_share: Annotated[Number, Field(gt=0, le=1)] = 1.0
    experiment: Annotated[Line, Field(max_length=200)] = ""
    rebuild: tuple[Stage, ...] = ()

    @model_validator(mode="after")
    def _store_can_be_reached(self) -> ExecutionConfig:
        address = urlsplit(self.tracking_uri)
        if address.password:
            raise ValueError(
                "tracking_uri contains a password, which would be stored with every result: put it in ~/.pgpass or "
                "PGPASSWORD (PostgreSQL), or in MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (MLflow server)"
            )
        if urlsplit(self.storage).password:
            raise ValueError(
                "storage contains a secret, which would be stored with every result: give it to every node in "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials"
            )
        if address.scheme == "postgres":
            raise ValueError(
                "tracking_uri begins with 'postgres:'; write postgresql://USER@HOST/DATABASE"
            )
        if address.scheme.startswith("postgresql") and find_spec("psycopg2") is None:
            raise ValueError(
                f"tracking_uri is a PostgreSQL address, which needs psycopg2: {install_command('postgres')}"
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


Seconds = Annotated[Number, Field(gt=0, le=86_400)]
Replicas = Annotated[Whole, Field(ge=1, le=4_096)]
Most = Annotated[Whole, Field(ge=1, le=1_000_000)]


class ServingConfig(Section):
    """Settings of the server: where it listens, how much it takes on, which versions it keeps open.

    Every limit holds for each replica by itself. A request beyond a limit is refused with a sentence that names
    the limit; requests in progress are not disturbed.

    Attributes:
        host: Address to listen on. Beyond this machine, a token file is needed.
        port: Port to listen on; 0: any free one.
        replicas: Least and largest number of replicas on the cluster (`execution.cluster`): Ray starts further ones
            while requests in progress are more than half of `max_streams` for each. Without a cluster there is one.
        hosts: Further values of the Host header that are answered, e.g. "reviews.example.org"; the names of this
            machine always are. Empty: if the server listens beyond this machine, all are.
        root_path: Path below which a proxy offers the server, e.g. "/reviews", if the proxy passes it on with each
            request; empty: there is none, or the proxy takes it off.
        tokens: File of access tokens; empty: those of `reviewlm home tokens`, and without any everyone is answered.
        requests_per_minute: Requests per token and minute; 0: no limit.
        max_streams: Texts that are generated at the same time.
        cache_megabytes: Memory for the model's states after texts read before, so that a longer text is not read
            from its beginning; the search for words gets a quarter more.
        threads: Threads of the model; 0: all cores, and on a cluster one core for each replica.
        request_seconds: Time within which a request must be answered, waiting included.
        max_versions: Versions that are open at the same time, besides champion and challenger; the one unused for
            longest is closed.
        poll_seconds: Time after which the registry is asked again for a new champion or challenger.
    """

    max_waiting: ClassVar = 256
    """Texts that wait for their turn; further requests are refused with status 429."""
    max_prompt_characters: ClassVar = 20_000
    """Longest prompt or text."""
    drain_seconds: ClassVar = 25.0
    """Time that requests in progress get to finish when the server is ended."""
    max_body_kilobytes: ClassVar = 1_000
    """Largest request body, in thousands of bytes."""

    host: Annotated[Line, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[Whole, Field(ge=0, le=65_535)] = 8000
    replicas: tuple[Replicas, Replicas] = (1, 4)
    hosts: tuple[Line, ...] = ()
    root_path: Annotated[Line, Field(pattern=r"^(/[\w.~-]+)*$")] = ""
    tokens: Line = ""
    requests_per_minute: Annotated[Whole, Field(ge=0, le=10_000_000)] = 0
    max_streams: Most = 64
    cache_megabytes: Annotated[Whole, Field(ge=0, le=1_000_000)] = 256
    threads: Annotated[Whole, Field(ge=0, le=4_096)] = 0
    request_seconds: Seconds = 120.0
    max_versions: Annotated[Whole, Field(ge=0, le=100)] = 2
    poll_seconds: Seconds = 2.0

    @model_validator(mode="after")
    def _replicas_are_in_order(self) -> ServingConfig:
        if self.replicas[0] > self.replicas[1]:
            raise ValueError("replicas: the least number is larger than the largest")
        return self
