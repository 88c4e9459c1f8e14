"""How and where a run is carried out: the section `execution` of the configuration."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Literal

from pydantic import Field, model_validator

from reviewlm.section import Section

Stage = Literal[
    "synthesise", "read", "ingest", "check", "prepare", "vocabulary", "tokens", "fit", "score", "samples", "floor",
    "drift", "card", "prediction",
]
"""What may be built anew."""


class ExecutionConfig(Section):
    """How and where to run. Part of no digest: it must not change a result beyond rounding.

    `workers` fits run side by side, each with `threads` threads (0: the cores shared out among the workers), in `ranks`
    processes that share out each batch and the threads (0: one for each GPU to be seen; only neural models).

    N-gram models are counted and estimated by these threads, or with `ngram_engine` "dask" by the workers of the Dask
    scheduler at `dask_address`, e.g. "tcp://host:8786"; without an address, by as many processes of this machine.
    """

    home: str = ".reviewlm"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: Annotated[int, Field(ge=1)] = 1
    threads: Annotated[int, Field(ge=0)] = 0
    ranks: Annotated[int, Field(ge=0)] = 1
    tracking_uri: str = ""
    experiment: str = "reviewlm"
    rebuild: tuple[Stage, ...] = ()
    ngram_engine: Literal["local", "dask"] = "local"
    dask_address: str = ""

    @model_validator(mode="after")
    def _dask_is_there(self) -> ExecutionConfig:
        if self.ngram_engine == "dask" and find_spec("prefect_dask") is None:
            raise ValueError("ngram_engine is 'dask', which needs prefect-dask: pip install 'reviewlm[dask]'")
        return self
