"""A home keeps the ports of its pages, and `services start` says what it does and which ports it took."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.services import launch, service_list
from core.services.service_list import address_of

Step = tuple[str, float | None, str]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program uses."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Names and addresses of the services that would be started; no process is."""
    found: dict[str, str] = {}

    def only_told(
        home: Path, known: dict[str, Any], name: str, command: list[str], address: str = "", *_: Any, **__: Any
    ) -> None:
        found[name] = address
        known[name] = service_list.Service(name, "", address)

    monkeypatch.setattr(launch, "_launch", only_told)
    monkeypatch.setattr(launch, "deploy", lambda environment, pools, home, keep: None)
    monkeypatch.setattr(launch, "usable_pools", lambda: ("cpu-pool",))
    return found


def started(home: Path) -> tuple[dict[str, str], list[Step]]:
    steps: list[Step] = []
    result = launch.start(home, lambda *step: steps.append(step))
    assert [name for name, seconds, _ in steps[::2] if seconds is None] == [name for name, *_ in steps[1::2]]
    return result, steps[1::2]


def test_a_link_leads_to_the_port_that_the_home_gets_when_its_pages_start(
    tmp_path: Path, taken: int, launched: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(launch.DEFAULT_PORTS, "mlflow", taken)
    before = address_of(tmp_path, "mlflow")
    assert before != f"http://127.0.0.1:{taken}", "another program answers there"
    started(tmp_path)
    assert launched["mlflow"] == before == address_of(tmp_path, "mlflow")


