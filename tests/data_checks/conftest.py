import sys

import pytest

AT_COLLECTION = pytest.StashKey[frozenset[str]]()


def pytest_collection_finish(session):
    session.config.stash[AT_COLLECTION] = frozenset(sys.modules)


@pytest.fixture
def modules_at_collection(request):
    """Modules that were imported when all tests of this run were collected, and none had run."""
    return request.config.stash[AT_COLLECTION]
