"""Machines that share a remote store."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.core.storing.shared_machines import Machine


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """The folder that the machines share."""
    return tmp_path / "shared"


@pytest.fixture
def first(tmp_path: Path, shared: Path) -> Machine:
    """The machine that builds the result and uploads it."""
    return Machine(tmp_path / "first", shared)


@pytest.fixture
def second(tmp_path: Path, shared: Path) -> Machine:
    """A machine that has nothing yet."""
    return Machine(tmp_path / "second", shared)
