"""Share the fixtures of the tests of networks."""

import pytest

from tests.models.neural.conftest import gpu_as_in_a_fit  # noqa: F401
from tests.training.neural.killed_trainings import bits, journal, run, without_clock


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    network, summary = run(folder)
    return bits(network), without_clock(summary), journal(folder)
