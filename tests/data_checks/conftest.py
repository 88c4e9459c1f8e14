import sys

import pytest

from data_checks import gx

AT_COLLECTION = pytest.StashKey[frozenset[str]]()


def pytest_collection_finish(session):
    session.config.stash[AT_COLLECTION] = frozenset(sys.modules)


@pytest.fixture
def modules_at_collection(request):
    """Modules that were imported when all tests of this run were collected, and none had run."""
    return request.config.stash[AT_COLLECTION]


@pytest.fixture
def without_pages(monkeypatch):
    """Spare the time that the pages take: `test_data_docs.py` looks at those."""
    for step in ("new_context", "store", "write_pages"):
        monkeypatch.setattr(gx, step, lambda *_: None)
