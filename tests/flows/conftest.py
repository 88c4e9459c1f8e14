"""One finished run of the tiny preset for all tests of a process that only look at it or go on from it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.flows.first_run import Ran, run_in


@pytest.fixture(scope="module")
def ran(
    prefect_server: None,
    tmp_path_factory: pytest.TempPathFactory,
    template_home: Path,
) -> Ran:
    home = Path(shutil.copytree(template_home, tmp_path_factory.mktemp("pipeline") / "home"))
    return Ran(home, run_in(home))
