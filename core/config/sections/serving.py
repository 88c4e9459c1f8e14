"""Define the settings of the server that answers with a registered model: `reviewlm serve`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from core.config.section import Line, Section
from models.options import Number, Whole

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
        tokens: File of access tokens (`reviewlm home tokens`); empty: everyone who reaches the port is answered.
        requests_per_minute: Requests per token and minute; 0: no limit.
        max_streams: Texts that are generated at the same time.
        cache_megabytes: Memory for the states of texts that were read before, by which typing on is cheap; a quarter as
            much again for what the search for words has read.
        threads: Threads of the model; 0: all cores, and on a cluster one core for each replica.
        request_seconds: Time within which a request must be answered, waiting included.
        max_versions: Versions that are open at the same time, besides champion and challenger; the one unused for
            longest is closed.
        poll_seconds: Time between two looks at the registry, for a new champion or challenger.
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
