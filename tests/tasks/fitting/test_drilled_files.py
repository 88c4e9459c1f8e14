"""The kill drill of a fit watches code that exists."""

from __future__ import annotations

from pathlib import Path

from tests.tasks.fitting.drilled_fit import WATCHED


def test_every_watched_file_exists() -> None:
    missing = [file for file in WATCHED if not Path(file).is_file()]
    assert missing == []
