"""The home and the remote store of each test are those that it names itself."""

from __future__ import annotations

import pytest

from core.storing.remote import remote_store


@pytest.fixture
def own_homes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REVIEWLM_HOME", raising=False)
    remote_store.cache_clear()
