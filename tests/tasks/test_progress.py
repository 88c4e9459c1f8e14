"""Progress: how fast, how much is done and what is left, as log lines and in Prefect."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tasks import progress as room
from tasks.progress import progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(room.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(room.sys.stderr, "isatty", lambda: False, raising=False)
    return now


def test_a_log_line_tells_share_speed_and_time_left(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tasks.progress"), progress("clean", 100_000, "reviews") as report:
        clock[0] = 10.0
        report(20_000)
    assert [record.message for record in caplog.records] == ["clean 20 %, 2,000 reviews/s, 40 s left"]


def test_a_first_step_that_warms_up_foretells_nothing(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tasks.progress"), progress("lstm", 1_000_000, "tokens") as report:
        for second, done in ((12.0, 1_200), (40.0, 2_000)):
            clock[0] = second
            report(done)
    assert [record.message for record in caplog.records] == [
        "lstm 0 %, 100 tokens/s", "lstm 0 %, 50 tokens/s, 5 h 32 min left"
    ]


def test_a_file_is_measured_in_bytes_and_told_in_reviews(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tasks.progress"), progress("ingest", 4_000_000_000, "bytes") as report:
        clock[0] = 20.0
        report(1_000_000_000, {"reviews": 1_000_000})
    assert caplog.records[0].message == (
        "ingest 25 %, 50,000 reviews/s (50 MB/s), 1 min 0 s left; reviews 1,000,000"
    )


def test_news_comes_now_and_then_only(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tasks.progress"), progress("clean", 1_000, "reviews") as report:
        for second in range(100):
            clock[0] = float(second)
            report(second)
    assert len(caplog.records) == 9


def test_prefect_gets_one_artifact_that_moves(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(room.TaskRunContext, "get", lambda: object())
    monkeypatch.setattr(room, "create_progress_artifact", lambda *about: calls.append(("new", *about)) or "id")
    monkeypatch.setattr(room, "update_progress_artifact", lambda *about: calls.append(("moved", *about)))
    with progress("tokens word train", 1_000, "reviews") as report:
        for second, done in ((6, 250), (12, 500), (18, 1_000)):
            clock[0] = second
            report(done)
    assert [call[:3] for call in calls] == [
        ("new", 25.0, "tokens-word-train-progress"), ("moved", "id", 50.0), ("moved", "id", 100.0)
    ]
    assert calls[1][3] == "42 reviews/s, 12 s left"
    assert calls[2][3] == "56 reviews/s, 0 s left"


def test_a_prefect_that_is_away_ends_no_work(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*about: Any) -> None:
        raise ConnectionError("nobody there")

    monkeypatch.setattr(room.TaskRunContext, "get", lambda: object())
    monkeypatch.setattr(room, "create_progress_artifact", away)
    with caplog.at_level(logging.DEBUG, "tasks.progress"), progress("clean", 10, "reviews") as report:
        clock[0] = 60.0
        report(5)
    assert "nobody there" in caplog.records[-1].message
