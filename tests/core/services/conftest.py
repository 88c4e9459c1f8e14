"""The server of one run, and pauses between its heartbeats that take no time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from core.services import heartbeat
from tasks import flow_run
from tests.core.services.prefect_of_one_run import Over, Prefect


@pytest.fixture
def prefect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Prefect]:
    server = Prefect()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{server.server_address[1]}/api")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "reviewlm:secret")
    monkeypatch.setenv("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")
    monkeypatch.setattr(flow_run, "HEARTBEAT_SECONDS", 0.02)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between heartbeats, in which no time passes but that of a clock; more than twenty are too many."""
    paused, clock = list[float](), [0.0]

    def sleep(seconds: float) -> None:
        paused.append(seconds)
        clock[0] += seconds
        if len(paused) > 20:
            raise Over

    monkeypatch.setattr(heartbeat, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: clock[0]))
    return paused
