"""Engines that end with their test, and a model whose steps a test can hold."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reviewlm.serving.engine.engine import Engine
from reviewlm.serving.engine.requests import EngineLimits
from tests.serving.driven_engine import Gate
from tests.serving.engine.small_models import bundle_of

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


@pytest.fixture
def gated() -> object:
    bundle = bundle_of("ngram")
    return replace(bundle, model=Gate(bundle.model))
