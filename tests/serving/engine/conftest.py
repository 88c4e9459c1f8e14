import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.engine.engine import Engine
from serving.engine.requests import EngineLimits

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture
def engine_of() -> Iterator[object]:
    """Start engines that end with the test."""
    engines: list[Engine] = []

    def start(bundle: object, **limits: object) -> Engine:
        engines.append(Engine(bundle, EngineLimits(**limits)))  # type: ignore[arg-type]
        return engines[-1]

    yield start
    for engine in engines:
        engine.close(0)
