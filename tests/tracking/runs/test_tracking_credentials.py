"""A server that does not take the credentials: told at once, and nothing that was written meanwhile is lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reviewlm.core.errors import NotAuthorized
from reviewlm.tracking.runs import publish
from reviewlm.tracking.runs.record import PENDING
from reviewlm.tracking.runs.runs import Tracker
from tests.core.http_server import http_server

AT_MLFLOW = "You are not authenticated. Please see https://mlflow.org/docs"


@dataclass
class Door:
    """An HTTP server that answers everything with one status and body."""

    status: int = 401
    body: str = AT_MLFLOW
    asked: list[str] = field(default_factory=list)
    address: str = ""


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()

    def answer(path: str, *_: object) -> tuple[int, str]:
        door.asked.append(path)
        return door.status, door.body

    with http_server(answer) as door.address:
        yield door


@pytest.fixture
def tracker(
    door: Door,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Tracker:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(publish, "PAUSE", 0.0)
    return Tracker(door.address, "reviewlm", tmp_path / "home" / "mlartifacts")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, AT_MLFLOW),
        (403, "<html>Forbidden</html>"),
        (403, '{"error_code": "PERMISSION_DENIED", "message": "Permission denied"}'),
    ],
    ids=["401 of MLflow", "403 of a proxy", "403 of MLflow"],
)
def test_wrong_credentials_are_not_waited_for(
    door: Door,
    tracker: Tracker,
    status: int,
    body: str,
) -> None:
    door.status, door.body = status, body

    def sleep(seconds: float) -> None:
        pytest.fail("it waits")

    with pytest.raises(NotAuthorized, match="MLFLOW_TRACKING_PASSWORD") as caught:
        tracker.wait(120.0, sleep)
    assert caught.value.exit_code == 8
    assert len(door.asked) == 1


def test_what_is_written_while_the_credentials_are_wrong_waits_for_better_ones(
    tracker: Tracker,
) -> None:
    run_id = tracker.start_run("one")
    assert run_id.startswith(PENDING)
    for _ in range(10):
        assert tracker.sync() == 1
    [record] = tracker.waiting()
    assert (record.run, record.refused) == (run_id, [])
    assert record.start is not None
