"""Set up the automations of a Prefect server, run programs that use it, and ask it for its runs."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from tests.operation.real_server.received import Hook
from tests.programs import command

DAY = 86_400


def set_up(
    environment: dict[str, str],
    addresses: Sequence[str] = (),
    silence: float = 20,
) -> None:
    """Set the automations up, as each start of the services does."""
    settings = {"addresses": list(addresses), "silence_days": silence / DAY}
    waits = {"worker_seconds": 30}
    run(environment, "set_up_automations", json.dumps(settings), json.dumps(waits))


def post(
    environment: dict[str, str],
    path: str,
    body: Any,
) -> Any:
    """Return what the server answers to a request."""
    user, password = environment["PREFECT_API_AUTH_STRING"].split(":", 1)
    address = f"{environment['PREFECT_API_URL']}/{path}"
    return (
        httpx.post(
            address,
            json=body,
            auth=(user, password),
            timeout=60,
        )
        .raise_for_status()
        .json()
    )


def run(
    environment: dict[str, str],
    program: str,
    *arguments: object,
    seconds: float = 300,
) -> str:
    """Run a program of `tests/programs` against the server, and return what it prints."""
    words = command(program, *arguments)
    done = subprocess.run(
        words,
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    return done.stdout


def until(found: Callable[[], Any], seconds: float = 150) -> Any:
    over = time.monotonic() + seconds
    while not (it := found()):
        assert time.monotonic() < over, (
            f"not within {seconds:.0f} s; alerts so far: {Hook.received}"
        )
        time.sleep(0.5)
    return it


def states(server: dict[str, str], name: str) -> list[str]:
    """Return of each run of a flow whether a deployment started it, and its state."""
    return sorted(
        f"{bool(run['deployment_id'])} {run['state']['name']}" for run in runs_of(server, name)
    )


def runs_of(server: dict[str, str], name: str) -> list[dict[str, Any]]:
    return list(post(server, "flow_runs/filter", {"flows": {"name": {"any_": [name]}}}))
