"""On a real Prefect server: alerts arrive at every address."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from reviewlm.core.services.pools import POOLS
from tests.operation.real_server.asked_server import run, runs_of, states, until
from tests.operation.real_server.received import Hook, mails, with_title

pytestmark = [pytest.mark.slow, pytest.mark.long]  # a server of its own, and waits of half a minute


def test_a_failed_run_is_told_to_every_address_with_its_cause(server: dict[str, str]) -> None:
    run(server, "fail_in_flow", "itself")
    [(title, text)] = until(lambda: with_title("demo-of-today"))
    assert title == "ReviewLM: retrain (demo-of-today): Failed"
    assert "the disk is full" in text
    [run_id] = [one["id"] for one in runs_of(server, "retrain") if one["name"] == "demo-of-today"]
    page = server["PREFECT_API_URL"].removesuffix("/api")
    assert f"{page}/runs/flow-run/{run_id}" in text.splitlines()
    [(subject, text)] = until(lambda: [mail for mail in mails() if "demo-of-today" in mail[0]])
    assert subject == title
    assert "the disk is full" in text


def test_the_failure_of_a_run_in_one_of_its_parts_is_one_alert(
    server: dict[str, str],
) -> None:
    run(server, "fail_in_flow", "part")
    assert states(server, "ingest") == ["False Failed"]
    until(lambda: with_title("calls-today"))
    time.sleep(10)  # the part failed first, so its alert would be here
    assert [title for title, _ in Hook.received if "-today)" in title and "call" in title] == [
        "ReviewLM: retrain (calls-today): Failed"
    ]


@pytest.mark.parametrize(
    ("event", "title"),
    [
        ("PROMOTED", "yelp: version 7 is the new champion"),
        ("REFUSED", "yelp: version 7 was refused; the champion stays"),
        ("DRIFTED", "yelp: the new reviews differ"),
        ("DRIFT_SEEN", "yelp: the new reviews differ"),
        ("SET_ASIDE", "A file of reviews cannot be read"),
    ],
)
def test_what_happens_to_the_model_is_told(
    server: dict[str, str],
    event: str,
    title: str,
) -> None:
    run(server, "announce_event", event)
    # Two events have one title, so the sentence tells which of them this is.
    for received in (lambda: Hook.received, mails):
        [(told, _)] = until(
            lambda came=received: [one for one in came() if f"Because of {event}." in one[1]]
        )
        assert told == f"ReviewLM: {title}"


def test_a_rollback_by_hand_is_told_without_an_import_of_prefect(
    server: dict[str, str], tmp_path: Path
) -> None:
    run(server, "announce_rollback", tmp_path)
    [(_, text)] = until(lambda: with_title("yelp: version 6 is the champion again"))
    assert "By hand, by ann: it swears" in text


def test_silence_is_told(server: dict[str, str]) -> None:
    title, _ = until(lambda: with_title("No retrain has finished for"))[0]
    assert until(
        lambda: [
            text for subject, text in mails() if subject == title and "reviewlm doctor" in text
        ]
    )


def test_a_pool_is_told_only_if_its_worker_stays_away(
    server: dict[str, str],
) -> None:
    """Both workers stop; that of one pool starts again, as after a start of the services."""
    address, (user, password) = (
        server["PREFECT_API_URL"],
        server["PREFECT_API_AUTH_STRING"].split(":", 1),
    )

    def post(path: str, **body: Any) -> Any:
        return httpx.post(
            f"{address}/work_pools/{path}",
            json=body,
            auth=(user, password),
            timeout=60,
        )

    def ready() -> set[str]:
        return {pool["name"] for pool in post("filter").json() if pool["status"] == "READY"}

    def heartbeat(pool: str, seconds: int) -> None:
        """Be a worker that sends the next heartbeat in so many seconds."""
        path = f"{pool}/workers/heartbeat"
        post(path, name="pretended", heartbeat_interval_seconds=seconds).raise_for_status()

    for pool in POOLS:
        post("", name=pool, type="process")
        heartbeat(pool, 1)
    assert ready() == set(POOLS)
    until(lambda: not ready())
    heartbeat("gpu-pool", 600)
    [(title, _)] = until(lambda: with_title("has no worker"))
    time.sleep(10)
    assert [title for title, _ in with_title("has no worker")] == [title]
    assert title == "ReviewLM: The pool cpu-pool has no worker"
