import pytest

from data_checks import engine


@pytest.fixture
def without_pages(monkeypatch):
    """Spare the time that the pages take: `test_data_docs.py` looks at those."""
    for step in ("_context", "_store", "_write_pages"):
        monkeypatch.setattr(engine, step, lambda *_: None)
