"""The flow of the hourly deployment: with nothing new it ends at once, with new files it tells which."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prefect.states import State

from reviewlm.core.errors import CheckFailed
from reviewlm.flows.ingest import ingest_only
from tests.flows.first_run import TINY

Event = dict[str, Any]


@pytest.fixture
def told(
    prefect_server: None,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> list[Event]:
    """What the runs of a test with a home of its own tell Prefect's server."""
    events: list[Event] = []
    monkeypatch.setattr(
        "reviewlm.tasks.execution.stage.emit_event",
        lambda event, **about: events.append({"event": event, **about}),
    )
    return events


def add(
    folder: Path,
    name: str,
    count: int,
    broken: str = "",
) -> None:
    folder.mkdir(exist_ok=True)
    rows = [
        {
            "review_id": f"{name}-{n}",
            "stars": 5,
            "text": f"Meal {n} of {name} was fine.",
            "date": "2019-05-01 10:00:00",
        }
        for n in range(count)
    ]
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows) + broken)


def run(folder: Path, *overrides: str) -> State[Any]:
    return ingest_only(TINY, [str(folder)], list(overrides), return_state=True)


def files_below(home: Path) -> dict[str, int]:
    """Return when each file of a result was written; its path begins with the stage. A manifest tells its last use."""
    store = home / "store"
    found = {str(file.relative_to(store)): file for file in store.rglob("*") if file.is_file()}
    return {
        name: file.stat().st_mtime_ns
        for name, file in found.items()
        if not name.startswith(".") and file.name != "manifest.json"
    }


@pytest.mark.slow
def test_a_start_with_nothing_new_says_so(
    told: list[Event],
    own_home: Path,
    tmp_path: Path,
) -> None:
    add(tmp_path / "in", "first.jsonl", 30)
    first = run(tmp_path / "in").result()
    assert (first["new_sources"], first["rows"]) == (1, 30)
    stored = files_below(own_home)
    again = run(tmp_path / "in")
    assert again.is_completed()
    assert again.message == "Nothing new: all source files (1) were read and checked before"
    assert {
        **again.result(),
        "new_sources": 1,
        "reused_sources": 0,
    } == first
    assert files_below(own_home) == stored
    assert not (own_home / "mlflow.db").exists()
    assert ingest_only(TINY, [str(tmp_path / "in")]) == again.result()


@pytest.mark.slow
def test_new_files_are_an_event_with_the_settings_of_the_run(
    told: list[Event], tmp_path: Path
) -> None:
    add(tmp_path / "in", "first.jsonl", 30)
    run(tmp_path / "in")
    run(tmp_path / "in")
    add(tmp_path / "in", "second.jsonl", 20)
    run(tmp_path / "in", "promotion.model_name=yelp")
    assert [event["event"] for event in told] == ["reviewlm.ingest.new"] * 2
    assert told[1]["resource"]["prefect.resource.id"] == "reviewlm.model.yelp"
    payload = told[1]["payload"]
    assert payload.pop("dataset")
    assert payload == {
        "preset": TINY,
        "input": [str(tmp_path / "in")],
        "overrides": ["promotion.model_name=yelp"],
        "count": 1,
        "files": ["second.jsonl"],
        "new_reviews": 20,
        "sentence": "New files: 1, with 20 reviews",
    }


@pytest.fixture
def refused_twice(told: list[Event], tmp_path: Path) -> Path:
    """A folder with a file that was refused, and refused again."""
    add(tmp_path / "in", "first.jsonl", 30, broken="no JSON\n")
    for _ in range(2):
        with pytest.raises(CheckFailed):
            run(tmp_path / "in", "checks.max_quarantined=0.01").result()
    return tmp_path / "in"


@pytest.mark.slow
@pytest.mark.usefixtures("refused_twice")
def test_a_data_set_that_was_refused_is_no_event(told: list[Event]) -> None:
    assert told == []


@pytest.mark.slow
def test_a_data_set_that_was_refused_is_taken_where_more_is_allowed(refused_twice: Path) -> None:
    assert run(refused_twice).result()["rows"] == 30
