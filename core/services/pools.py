"""Create Prefect's work pools, limits, deployments and automations, as far as this machine can run them.

Changes that users made to deployments in Prefect's pages stay when `prefect.yaml` is deployed again. `prefect deploy`
overwrites schedules and parameters with those of the file, and creates the automations of the file's triggers again, so
what was switched on would be off after each start of the services, for example after a reboot. What the file said is
therefore noted: a value that differs from it later was changed by a user, and is written back after the deployment, by
the next start if this one is killed in between. Values are all schedules, all parameters, the pause, and the switches
of automations: of what a user has not changed, the file decides.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from core.environment import chosen_device, visible_gpus
from core.errors import ReviewLMError
from core.output import write_output
from core.provenance import code_digest, git_commit
from core.services.deployed_code import COPY_VARIABLE, FOLDER, copies_of, deployments_on, keep_code, problem_of
from core.services.prefect_api import ask

POOLS = ("cpu-pool", "gpu-pool")
LIMITS = ("gpu", "promotion", "retrain")
PROJECT = Path(__file__).resolve().parents[2]
CODE_VARIABLE, CODE_DIGITS = "REVIEWLM_CODE", 12
"""Names the deployed code to `prefect deploy` (`version` in prefect.yaml); digits of its commit and of its digest."""
SECONDS, EXISTS = 60.0, 409
"""Time to wait for an answer of Prefect's server; its answer about a limit that exists already."""

FILE = "deployments.json"
KEPT = ("schedules", "parameters", "paused")
SCHEDULE = ("schedule", "active", "max_scheduled_runs", "parameters", "slug")
"""What makes a schedule; the rest is its number and dates."""
BUSY, PATIENCE, PAUSE = 503, 300.0, 2.0
"""Prefect's answer while its database is locked, seconds for which it is asked again, and seconds between two tries."""
MOST = 200
AUTOMATIONS = "automations"
"""Among the kept values: whether each automation that starts the deployment is switched on, by its name."""
Settings = dict[str, dict[str, Any]]
"""By flow and name of the deployment, the values of `KEPT` and `AUTOMATIONS`."""
log = logging.getLogger(__name__)


def size_of_limit(name: str) -> int:
    """Return the size that a limit is created with: as many fits as GPUs are visible, one promotion and one retrain."""
    return max(1, visible_gpus()) if name == "gpu" else 1


def usable_pools() -> tuple[str, ...]:
    """Return the pools that have a worker on this machine; a pool without one would stay "Not Ready" in Prefect."""
    return POOLS if chosen_device("auto") == "cuda" else POOLS[:1]


def deployments_of(pools: Collection[str]) -> list[str]:
    """Return the names of the deployments that run in these pools."""
    import yaml

    entries = yaml.safe_load((PROJECT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    return [entry["name"] for entry in entries if entry["work_pool"]["name"] in pools]


def deploy(environment: dict[str, str], pools: Collection[str], home: Path, keep: bool = False) -> None:
    """Create or overwrite the pools, create missing limits, then deployments for these pools, and the automations.

    What users have changed of the deployments stays.

    Args:
        environment: Names the server.
        pools: Pools that have a worker.
        home: Home folder, which has the addresses of alerts, and gets a copy of the code.
        keep: Leave the deployments as they are, if all are there with a copy of the code that is not damaged.
    """
    for pool in pools:
        _prefect(environment, "work-pool", "create", pool, "--type", "process", "--overwrite")
    for name in LIMITS:
        _create_limit(environment, name)
    names = deployments_of(pools)
    if not (keep and _are_whole(environment, names, home)):
        with kept_deployments(environment, home):
            code = {CODE_VARIABLE: deployed_code(), COPY_VARIABLE: keep_code(home).name}
            arguments = [argument for name in names for argument in ("--name", name)]
            _prefect({**environment, **code}, "--no-prompt", "deploy", *arguments)
    automate(environment, home)


def _are_whole(environment: dict[str, str], names: Collection[str], home: Path) -> bool:
    """Return whether a server has these deployments, each with a copy of its code that is as it was made."""
    try:
        by_name = {one["name"]: copies_of([one]) for one in deployments_on(environment)}
    except (OSError, ValueError, KeyError):
        return False
    copies = set[str]().union(*by_name.values())
    return all(by_name.get(name) for name in names) and not any(problem_of(home / FOLDER / copy) for copy in copies)


def deployed_code() -> str:
    """Return the version of our deployments: the commit, if there is one, and the digest of the code."""
    return f"{git_commit()[:CODE_DIGITS] or 'no commit'} {code_digest()[:CODE_DIGITS]}"


def _create_limit(environment: dict[str, str], name: str) -> None:
    """Create a limit of Prefect's server; one that exists keeps its size."""
    try:
        ask(environment, "POST", "/v2/concurrency_limits/", {"name": name, "limit": size_of_limit(name)}, SECONDS)
    except (OSError, ValueError) as error:
        if not isinstance(error, HTTPError) or error.code != EXISTS:
            raise ReviewLMError(
                "Prefect's limits cannot be created", where=environment["PREFECT_API_URL"], value=name,
                cause=str(error), remedy="see logs/prefect.log of the home folder, and start the services again",
            ) from error


def automate(environment: dict[str, str], home: Path) -> None:
    """Create or update the automations: alerts, and what happens to lost runs (`flows/server/automations.py`)."""
    _run(environment, [sys.executable, "-m", "flows.server.automations", str(home)])


def _prefect(environment: dict[str, str], *arguments: str) -> None:
    _run(environment, [str(Path(sys.executable).parent / "prefect"), *arguments])


def _run(environment: dict[str, str], command: list[str]) -> None:
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True)
    if done.returncode:
        shown = " ".join([Path(command[0]).name, *command[1:]])
        raise ReviewLMError(f"`{shown}` failed", cause="\n".join((done.stdout + done.stderr).splitlines()[-8:]))


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
    deployed_before = notes.get("deployed", {})
    write_output(home / FILE, json.dumps({"deployed": deployed_before, "theirs": theirs}))
    yield
    numbers, deployed = _deployments(environment)
    for name, now in deployed.items():
        merged = _merged(deployed_before.get(name, {}), theirs.get(name, {}), now)
        if changes := {key: value for key, value in merged.items() if value != now[key]}:
            log.info("deployment %s keeps %s of Prefect's pages", name.partition("/")[2], ", ".join(changes))
            switches = changes.pop(AUTOMATIONS, {})
            if changes:
                _ask(environment, "PATCH", f"/deployments/{numbers[name]}", changes)
            _switch(environment, numbers[name], switches)
    write_output(home / FILE, json.dumps({"deployed": deployed}))


def _merged(deployed: Mapping[str, Any], theirs: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a deployment: each as a user has changed it, else as the file says now."""
    return {key: value if theirs.get(key) in (None, deployed.get(key)) else theirs[key] for key, value in now.items()}


def _written(schedule: Mapping[str, Any]) -> str:
    return json.dumps(schedule, sort_keys=True)


def _deployments(environment: Mapping[str, str]) -> tuple[dict[str, str], Settings]:
    """Return number and settings of each deployment of the server."""
    entries = _ask(environment, "POST", "/deployments/filter", {"limit": MOST})
    names = [f"{one['flow_id']}/{one['name']}" for one in entries]  # two flows may have deployments of one name
    switches = _automations(environment)
    settings = [
        {**{key: one[key] for key in KEPT}, "schedules": _schedules(one),
         AUTOMATIONS: {each["name"]: each["enabled"] for each in switches if _starts(each, str(one["id"]))}}
        for one in entries
    ]
    return dict(zip(names, (str(one["id"]) for one in entries), strict=True)), dict(zip(names, settings, strict=True))


def _automations(environment: Mapping[str, str]) -> list[dict[str, Any]]:
    return list(_ask(environment, "POST", "/automations/filter", {"limit": MOST}))


def _starts(automation: Mapping[str, Any], deployment: str) -> bool:
    return any(str(action.get("deployment_id")) == deployment for action in automation["actions"])


def _switch(environment: Mapping[str, str], deployment: str, states: Mapping[str, bool]) -> None:
    """Switch the automations that start a deployment on or off."""
    for one in _automations(environment) if states else ():
        if _starts(one, deployment) and states.get(one["name"], one["enabled"]) != one["enabled"]:
            _ask(environment, "PATCH", f"/automations/{one['id']}", {"enabled": states[one["name"]]})


def _schedules(deployment: Mapping[str, Any]) -> list[dict[str, Any]]:
    schedules = [{name: one[name] for name in SCHEDULE if one.get(name) is not None} for one in deployment["schedules"]]
    return sorted(schedules, key=_written)


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
