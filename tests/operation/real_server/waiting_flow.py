"""A flow of a deployment that calls another one and waits, for a worker to run and a test to kill."""

from __future__ import annotations

import time
from pathlib import Path

from prefect import flow

NAME, PART = "whole", "part"


@flow(name=PART)
def part(file: str, seconds: float) -> None:
    """Wait until the file exists, or for so long."""
    until = time.monotonic() + seconds
    while not Path(file).exists() and time.monotonic() < until:
        time.sleep(0.2)


@flow(name=NAME, persist_result=False)
def whole(file: str = "/", seconds: float = 0.0) -> None:
    """Call the part."""
    part(file, seconds)
