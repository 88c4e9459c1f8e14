"""Keep the changes that users made to deployments in Prefect's pages when `prefect.yaml` is deployed again.

`prefect deploy` overwrites schedules and parameters with those of the file, and creates the automations of the file's
triggers again, so what was switched on would be off after each start of the services, for example after a reboot. What
the file said is therefore noted: a value that differs from it later was changed by a user, and is written back after
the deployment, by the next start if this one is killed in between. Values are single fields, such as one parameter or
the switch of a schedule: of all others, the file decides.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
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
ABSENT = object()
log = logging.getLogger(__name__)


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
    theirs = _deployments(environment)[1] | notes.get("theirs", {})  # of a start that was killed
    said = notes.get("said", {})
    write_output(home / FILE, json.dumps({"said": said, "theirs": theirs}))
    yield
    numbers, deployed = _deployments(environment)
    for name, now in deployed.items():
        merged = _merged(said.get(name, {}), theirs.get(name, {}), now)
        if wanted := {key: value for key, value in merged.items() if value != now[key]}:
            _tell(name.partition("/")[2], merged, now)
            switches = wanted.pop(AUTOMATIONS, {})
            if wanted:
                _ask(environment, "PATCH", f"/deployments/{numbers[name]}", wanted)
            _switch(environment, numbers[name], switches)
    write_output(home / FILE, json.dumps({"said": deployed}))


def _merged(said: Mapping[str, Any], theirs: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a deployment: each field as a user has changed it, else as the file says now."""
    merged = {}
    for key, value in now.items():
        before, users = said.get(key), theirs.get(key)
        if users is None:
            merged[key] = value
        elif key == "schedules":
            merged[key] = users if before is None else _merged_schedules(before, users, value)
        elif isinstance(value, Mapping):
            merged[key] = _merged_fields(before or {}, users, value)
        else:
            merged[key] = value if users == before else users
    return merged


def _merged_fields(said: Mapping[str, Any], theirs: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    merged = {}
    for name in dict.fromkeys([*now, *theirs]):
        users = theirs.get(name, ABSENT)
        value = now.get(name, ABSENT) if users == said.get(name, ABSENT) else users
        if value is not ABSENT:
            merged[name] = value
    return merged


def _merged_schedules(
    said: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]], now: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the schedules of the file with the users' changes of each, without those they removed, and their own."""
    users, files = _pairs(said, theirs), _pairs(said, now)
    merged = [one for place, one in enumerate(now) if place not in files.values()]
    for place, before in enumerate(said):
        if place in users and place in files:
            merged.append(_merged_fields(before, theirs[users[place]], now[files[place]]))
        elif place in users and theirs[users[place]] != before:
            merged.append(theirs[users[place]])
    merged += [one for place, one in enumerate(theirs) if place not in users.values()]
    return sorted(merged, key=_written)


def _pairs(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    """Return which schedule of *after* each one of *before* is: the one with equal times, else the next one left."""
    pairs: dict[int, int] = {}
    for alike in (lambda one, other: one["schedule"] == other["schedule"], lambda one, other: True):
        for place, one in enumerate(before):
            left = [index for index, other in enumerate(after) if index not in pairs.values() and alike(one, other)]
            if place not in pairs and left:
                pairs[place] = left[0]
    return pairs


def _tell(name: str, merged: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Log each field that stays as a user has left it although the file says something else."""
    for key, value in merged.items():
        kept, file = (each if isinstance(each, Mapping) else {"": each} for each in (value, now[key]))
        for field in dict.fromkeys([*kept, *file]):
            if kept.get(field, ABSENT) != file.get(field, ABSENT):
                where = f"{key}.{field}" if field else key
                log.info(
                    "deployment %s keeps %s = %s of Prefect's pages; the file says %s", name, where,
                    *(json.dumps(each[field]) if field in each else "nothing" for each in (kept, file)),
                )  # fmt: skip


def _written(schedule: Mapping[str, Any]) -> str:
    return json.dumps(schedule, sort_keys=True)


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
    return sorted(found, key=_written)


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
