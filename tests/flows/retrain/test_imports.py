"""What a run that re-uses all results waits for: no library that only computes."""

from __future__ import annotations

import subprocess

import pytest

from tests.programs import command


@pytest.mark.slow
def test_the_flow_of_a_run_is_imported_without_libraries_that_compute_or_draw() -> None:
    """It takes seconds; `models` imports it where a model is fitted, opened or asked."""
    done = subprocess.run(
        command("import_retrain_flow"),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert done.stdout.split() == []
