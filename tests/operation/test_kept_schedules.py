"""On a real Prefect server, schedules that were switched on and drift make runs, also after the next start."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.services.join import DRIFT_SEEN, DRIFTED, INGESTED, ask, send_event
from reviewlm.core.services.pools import deploy
from tests.operation.started_services import running_prefect

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """A home with a Prefect server, and the environment of its clients."""
    with running_prefect(tmp_path / "home") as (services, environment):
        yield services.home, environment


def test_what_a_user_set_outlives_the_next_deployment(
    server: tuple[Path, dict[str, str]],
) -> None:
    home, environment = server
    path = "/deployments/name/retrain/weekly"

    def weekly() -> dict[str, Any]:
        return dict(
            ask(
                environment,
                "GET",
                path,
                None,
                60,
            )
        )

    deploy(environment, ("cpu-pool",), home)
    first = weekly()
    [schedule] = first["schedules"]
    assert schedule["active"] is False
    hourly = {"active": True, "schedule": {"interval": 3600}}
    ask(
        environment,
        "PATCH",
        f"/deployments/{first['id']}/schedules/{schedule['id']}",
        hourly,
        60,
    )
    parameters = {**first["parameters"], "input": ["/data/reviews"]}
    ask(
        environment,
        "PATCH",
        f"/deployments/{first['id']}",
        {"parameters": parameters},
        60,
    )
    ask(
        environment,
        "PATCH",
        "/work_pools/cpu-pool",
        {"concurrency_limit": 3},
        60,
    )
    for again in (False, True):
        deploy(environment, ("cpu-pool",), home, again)
        assert (
            ask(
                environment,
                "GET",
                "/work_pools/cpu-pool",
                None,
                60,
            )["concurrency_limit"]
            == 3
        )
        [schedule] = weekly()["schedules"]
        assert (schedule["active"], schedule["schedule"]["interval"]) == (True, 3600)
        assert weekly()["parameters"] == parameters
    waiting = {
        "flow_runs": {
            "state": {"type": {"any_": ["SCHEDULED"]}},
            "deployment_id": {"any_": [first["id"]]},
        }
    }
    until = time.monotonic() + 120
    while not (
        runs := ask(
            environment,
            "POST",
            "/flow_runs/filter",
            waiting,
            60,
        )
    ):
        assert time.monotonic() < until, "the schedule makes no runs"
        time.sleep(1)
    assert runs[0]["parameters"] == parameters


def test_drift_starts_a_retrain_with_the_settings_of_the_run_that_found_it(
    server: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parameters are those of the flow `drift`; drift that a retrain has seen starts nothing."""
    home, environment = server
    deploy(environment, ("cpu-pool",), home)
    on_drift = ask(
        environment,
        "GET",
        "/deployments/name/retrain/on-drift",
        None,
        60,
    )
    asked = {
        "preset": "",
        "input": None,
        "overrides": ["promotion.model_name=yelp"],
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    join = "reviewlm.core.services.join.join"
    monkeypatch.setattr(join, lambda home: None)  # the server is that of the environment
    send_event(home, DRIFT_SEEN, "yelp", {"sentence": "seen"})
    send_event(home, DRIFTED, "yelp", {**asked, "sentence": "The stars differ."})
    mine = {"flow_runs": {"deployment_id": {"any_": [on_drift["id"]]}}}
    until = time.monotonic() + 120
    while not ask(
        environment,
        "POST",
        "/flow_runs/filter",
        mine,
        60,
    ):
        assert time.monotonic() < until, "drift starts no run"
        time.sleep(1)
    time.sleep(5)
    [run] = ask(
        environment,
        "POST",
        "/flow_runs/filter",
        mine,
        60,
    )
    assert {name: run["parameters"][name] for name in asked} == asked


def test_new_files_start_a_retrain_once_that_is_switched_on_which_outlives_the_next_deployment(
    server: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, environment = server
    deploy(environment, ("cpu-pool",), home)
    on_ingest = ask(
        environment,
        "GET",
        "/deployments/name/retrain/on-ingest",
        None,
        60,
    )
    asked = {
        "preset": "small",
        "input": ["/data/reviews"],
        "overrides": ["promotion.model_name=yelp"],
    }
    mine = {"flow_runs": {"deployment_id": {"any_": [on_ingest["id"]]}}}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    # The server is that of the environment.
    monkeypatch.setattr("reviewlm.core.services.join.join", lambda home: None)

    def automation() -> dict[str, Any]:
        found = ask(
            environment,
            "POST",
            "/automations/filter",
            {"limit": 200},
            60,
        )
        [one] = [one for one in found if one["name"] == "on-ingest__automation_1"]
        return dict(one)

    assert automation()["enabled"] is False
    send_event(home, INGESTED, "yelp", {**asked, "sentence": "unheard"})
    ask(
        environment,
        "PATCH",
        f"/automations/{automation()['id']}",
        {"enabled": True},
        60,
    )
    deploy(environment, ("cpu-pool",), home, again=True)
    assert automation()["enabled"] is True
    time.sleep(5)  # the server takes over what was switched on
    assert (
        ask(
            environment,
            "POST",
            "/flow_runs/filter",
            mine,
            60,
        )
        == []
    )
    send_event(home, INGESTED, "yelp", {**asked, "sentence": "1 new file"})
    until = time.monotonic() + 120
    while not (
        runs := ask(
            environment,
            "POST",
            "/flow_runs/filter",
            mine,
            60,
        )
    ):
        assert time.monotonic() < until, "new files start no run"
        time.sleep(1)
    assert [{name: run["parameters"][name] for name in asked} for run in runs] == [asked]
