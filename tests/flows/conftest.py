"""One finished run of the tiny preset for all tests of a process that only look at it or go on from it."""

from __future__ import annotations

import pytest

from tests.flows.first_run import Ran, run_in


@pytest.fixture(scope="module")
def ran(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    home = tmp_path_factory.mktemp("pipeline")
    return Ran(home, run_in(home))
