"""Two small models and a token stream, for works in processes of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tracking.tiny_model import fitted


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Two bundles and a token stream."""
    folder = tmp_path_factory.mktemp("made")
    return fitted(folder / "kn2", 2), fitted(folder / "kn3", 3), folder / "kn2" / "stream"
