"""The home of each test is that which it names itself."""

from __future__ import annotations

import pytest


@pytest.fixture
def own_homes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REVIEWLM_HOME", raising=False)
