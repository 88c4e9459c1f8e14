"""A stage is overdue after ten times the longest of its earlier builds on as much data: a warning, then an end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from core.config.presets import load_config
from core.config.run_config import RunConfig
from core.store import Artifact
from tasks import deadline
from tasks.code_version import running_code
from tasks.deadline import LEAST_SECONDS, deadline_of, input_bytes, longest
from tasks.stage import run_stage, store_of

ROOT = Path(__file__).resolve().parents[2]
EXECUTION = {"device": "cpu", "threads": 0, "workers": 1, "ranks": 1, "home": "anywhere"}


def build(seconds: float, size: int = 100, options: Any = None, **execution: Any) -> dict[str, Any]:
    """The manifest of an earlier build."""
    environment = {"execution": EXECUTION | execution, "input_bytes": size}
    return {"version": 1, "options": dict(options or {}), "seconds": seconds, "environment": environment}


def expected(*earlier: dict[str, Any], size: int = 100, options: Mapping[str, Any] | None = None) -> float | None:
    return longest(earlier, 1, options or {}, EXECUTION, size)


def test_the_longest_comparable_build_counts() -> None:
    assert expected() is None
    assert expected(build(3), build(7), build(5)) == 7


@pytest.mark.parametrize(("size", "seconds"), [(100, 7), (300, 21), (50, 7)], ids=["as much", "thrice", "half"])
def test_more_data_may_take_as_much_longer_and_less_data_gets_no_less(size: int, seconds: float) -> None:
    assert expected(build(7), size=size) == seconds


def test_each_build_is_scaled_by_its_own_data() -> None:
    assert expected(build(7, size=1_000), build(2, size=100), size=1_000) == 20


@pytest.mark.parametrize(
    "other",
    [build(9, device="cuda"), build(9, threads=8), build(9, options={"hidden": 8}), build(9) | {"version": 2}],
    ids=["device", "threads", "options", "version"],
)
def test_builds_of_another_kind_are_not_compared(other: dict[str, Any]) -> None:
    assert expected(other) is None
    assert expected(other, build(3)) == 3


def test_a_fit_that_was_resumed_counts_with_the_updates_before() -> None:
    """Else the next one, which is not interrupted, would soon be overdue."""
    assert expected(build(30) | {"facts": {"summary": {"seconds": 5_020.0}}}) == 5_020


def test_the_name_of_a_result_changes_nothing_and_a_tuple_is_a_list() -> None:
    known = build(3, options={"name": "may.json", "limits": [1, 2]})
    assert expected(known, options={"name": "june.json", "limits": (1, 2)}) == 3


def test_a_manifest_of_before_there_were_deadlines_is_no_history() -> None:
    old = build(3)
    del old["environment"]["input_bytes"]
    assert expected(old, {"version": 1, "options": {}, "seconds": 3}) is None


@pytest.fixture
def config(own_home: Path) -> RunConfig:
    return load_config("small", ["execution.workers=1"])


def built(config: RunConfig, make: Callable[[Path], Mapping[str, Any]], number: int, **inputs: str) -> Artifact:
    return run_stage(config, "stage", {"name": number}, inputs, make).artifact


def test_the_deadline_follows_from_the_store_and_is_never_below_ten_minutes(config: RunConfig) -> None:
    store = store_of(config)
    data = store.build("data", 1, {}, {}, lambda work: {"n": (work / "rows").write_bytes(b"x" * 500)}).artifact
    assert input_bytes(store, {"data": data.digest, "file": "0" * 64}) == 500
    version = running_code().version(__name__)
    assert deadline_of(config, store, "stage", version, {}, 500) is None
    made = built(config, lambda work: {"slept": time.sleep(0.02)}, 1, data=data.digest)
    assert made.manifest["environment"]["input_bytes"] == 500
    assert deadline_of(config, store, "stage", version, {"name": 2}, 500) == LEAST_SECONDS == 600
    seconds = made.manifest["seconds"]
    assert deadline_of(config, store, "stage", version, {}, 10**15) == pytest.approx(10 * seconds * 10**15 / 500)


@pytest.mark.drill("hanging task", "a stage overdue by its own history", "a warning and an alert; the stage goes on")
def test_a_stage_that_takes_too_long_is_warned_of_and_goes_on(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(deadline, "LEAST_SECONDS", 0.01)
    noticed, told = threading.Event(), list[Any]()

    def announce(event: str, config: RunConfig, payload: dict[str, Any]) -> None:
        told.append((event, payload["stage"]))
        noticed.set()

    monkeypatch.setattr(deadline, "announce", announce)
    built(config, lambda work: {}, 1)
    with caplog.at_level(logging.WARNING):
        made = built(config, lambda work: {"noticed": noticed.wait(60)}, 2)
    assert made.facts == {"noticed": True}
    assert told == [("reviewlm.stage.overdue", "stage")]
    assert "'stage' has been running for 0 s, far longer than its earlier builds" in caplog.text
