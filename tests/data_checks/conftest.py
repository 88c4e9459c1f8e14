"""Keep which modules the collection of tests has imported."""

import sys

import pytest

AT_COLLECTION = pytest.StashKey[frozenset[str]]()


def pytest_collection_finish(session):
    session.config.stash[AT_COLLECTION] = frozenset(sys.modules)
