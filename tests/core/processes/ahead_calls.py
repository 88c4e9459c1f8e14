"""Functions that the tests of `imported_ahead` call in the other process."""

from __future__ import annotations

import os


def process_of_call(value: object) -> tuple[int, object]:
    return os.getpid(), value


def fail(text: str) -> None:
    raise ValueError(f"{text} in {os.getpid()}")


def end_process() -> int:
    if os.getppid() == int(os.environ["PARENT"]):
        os._exit(1)
    return os.getpid()
