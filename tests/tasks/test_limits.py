"""A command's own server needs no limits; on a shared one a missing limit is named with the command that makes it."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError

import tasks.limits
from core.errors import ConfigError
from tasks.limits import require_limits, slot


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the limits that a shared server has."""
    known: list[str] = []

    @contextmanager
    def client(sync_client: bool) -> Any:
        yield SimpleNamespace(
            read_global_concurrency_limits=lambda limit: [SimpleNamespace(name=name) for name in known]
        )

    monkeypatch.setattr(tasks.limits, "get_client", client)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    return known


def test_a_missing_limit_of_a_shared_server_is_refused_and_an_existing_one_is_not(limits: list[str]) -> None:
    limits.append("promotion")
    require_limits(["promotion"])
    with pytest.raises(ConfigError, match="lacks a concurrency limit") as refused:
        require_limits(["promotion", "gpu"])
    assert refused.value.value == "gpu"
    assert "prefect gcl create gpu --limit 1" in refused.value.remedy


def test_only_a_shared_server_must_know_a_limit_that_is_waited_for(
    limits: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def unknown(name: str, **_: Any) -> Any:
        raise ConcurrencySlotAcquisitionError(name)
        yield

    monkeypatch.setattr(tasks.limits, "concurrency", unknown)
    with pytest.raises(ConfigError, match="lacks a concurrency limit"), slot("gpu"):
        pytest.fail("held a slot of a limit that does not exist")
    monkeypatch.delenv("PREFECT_API_URL")
    with slot("gpu"):
        pass
