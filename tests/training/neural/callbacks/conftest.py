"""Fixtures of several modules of this folder."""

import pytest

from tests.training.neural.callbacks.killed_trainings import bits, journal, run, without_clock


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    network, summary = run(folder)
    return bits(network), without_clock(summary), journal(folder)
