"""Keep the changes that users made to deployments in Prefect's pages when `prefect.yaml` is deployed again.

`prefect deploy` overwrites schedules and parameters with those of the file, and creates the automations of the file's
triggers again, so what was switched on would be off after each start of the services, for example after a reboot. What
the file said is therefore noted: a value that differs from it later was changed by a user, and is written back after
the deployment, by the next start if this one is killed in between.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from core.errors import ReviewLMError
from core.output import write_output
from core.services.prefect_api import ask

FILE = "deployments.json"
KEPT = ("schedules", "parameters", "paused")
SCHEDULE = ("schedule", "active", "max_scheduled_runs", "parameters", "slug")
"""What makes a schedule; the rest is its number and dates."""
SECONDS = 60.0
BUSY, PATIENCE, PAUSE = 503, 300.0, 2.0
"""Prefect's answer while its database is locked, seconds for which it is asked again, and seconds between two tries."""
MOST = 200
AUTOMATIONS = "automations"
"""Among the kept values: whether each automation that starts the deployment is switched on, by its name."""
Settings = dict[str, dict[str, Any]]
"""By flow and name of the deployment, the values of `KEPT` and `AUTOMATIONS`."""


@contextmanager
def kept_deployments(environment: Mapping[str, str], home: Path) -> Iterator[None]:
    """Deploy within this block; at its end, what users had changed before is as they left it.

    Args:
        environment: Names the server.
        home: Home folder, which keeps the notes.

    Raises:
        ReviewLMError: The server does not answer.
    """
    notes = _notes(home)
    changed: Settings = notes.get("changed", {})
    for name, now in _deployments(environment)[1].items():
        said = notes.get("said", {}).get(name, {})
        theirs = {key: value for key, value in now.items() if value != said.get(key)}
        changed[name] = theirs | changed.get(name, {})
    write_output(home / FILE, json.dumps(notes | {"changed": changed}))
    yield
    numbers, deployed = _deployments(environment)
    for name, now in deployed.items():
        if wanted := {key: value for key, value in changed.get(name, {}).items() if value != now[key]}:
            switches = wanted.pop(AUTOMATIONS, {})
            if wanted:
                _ask(environment, "PATCH", f"/deployments/{numbers[name]}", wanted)
            _switch(environment, numbers[name], switches)
    write_output(home / FILE, json.dumps({"said": deployed}))


def _deployments(environment: Mapping[str, str]) -> tuple[dict[str, str], Settings]:
    """Return number and settings of each deployment of the server."""
    found = _ask(environment, "POST", "/deployments/filter", {"limit": MOST})
    names = [f"{one['flow_id']}/{one['name']}" for one in found]  # two flows may have deployments of one name
    switches = _automations(environment)
    settings = [
        {**{key: one[key] for key in KEPT}, "schedules": _schedules(one),
         AUTOMATIONS: {each["name"]: each["enabled"] for each in switches if _starts(each, str(one["id"]))}}
        for one in found
    ]
    return dict(zip(names, (str(one["id"]) for one in found), strict=True)), dict(zip(names, settings, strict=True))


def _automations(environment: Mapping[str, str]) -> list[dict[str, Any]]:
    return list(_ask(environment, "POST", "/automations/filter", {"limit": MOST}))


def _starts(automation: Mapping[str, Any], deployment: str) -> bool:
    return any(str(action.get("deployment_id")) == deployment for action in automation["actions"])


def _switch(environment: Mapping[str, str], deployment: str, wanted: Mapping[str, bool]) -> None:
    """Switch the automations that start a deployment on or off."""
    for one in _automations(environment) if wanted else ():
        if _starts(one, deployment) and wanted.get(one["name"], one["enabled"]) != one["enabled"]:
            _ask(environment, "PATCH", f"/automations/{one['id']}", {"enabled": wanted[one["name"]]})


def _schedules(deployment: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = [{name: one[name] for name in SCHEDULE if one.get(name) is not None} for one in deployment["schedules"]]
    return sorted(found, key=lambda one: json.dumps(one, sort_keys=True))


def _notes(home: Path) -> dict[str, Settings]:
    """Return what the file said at the last deployment, and what has to be written back; nothing, if not known."""
    with suppress(OSError, ValueError):
        notes = json.loads((home / FILE).read_text(encoding="utf-8"))
        return notes if isinstance(notes, dict) else {}
    return {}


def _ask(environment: Mapping[str, str], method: str, path: str, body: Any) -> Any:
    """Ask the server again while it is busy: after a reboot, runs that were interrupted may hold its database."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return ask(environment, method, path, body, SECONDS)
        except (OSError, ValueError) as error:
            if isinstance(error, HTTPError) and error.code == BUSY and time.monotonic() < end:
                time.sleep(PAUSE)
                continue
            raise ReviewLMError(
                "Prefect's deployments cannot be read or written", where=environment["PREFECT_API_URL"],
                cause=str(error), remedy="see logs/prefect.log of the home folder, and start the services again",
            ) from error
