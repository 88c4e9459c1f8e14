"""Streams of a few reviews, for fits in processes of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tasks.fitting.small_jobs import TEXTS, written


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("data"), train=TEXTS, validation=TEXTS)
