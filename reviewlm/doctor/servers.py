"""Check the servers and databases that a home uses: Prefect, MLflow, pools, limits and champions."""

from __future__ import annotations

import base64
import json
import os
import re
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

from core.credentials import PASSWORD_FILE, USER
from core.errors import without_password
from core.services import launch, service_list
from core.services.pools import LIMITS, deployments_of, usable_pools
from core.sqlite_files import database_file
from reviewlm.doctor.machine import HealthLine, State

if TYPE_CHECKING:
    from core.config.run_config import RunConfig

PATIENCE = 3.0
"""Seconds to wait for the answer of a server."""
VERSIONS = {"prefect": "/admin/version", "mlflow": "/version"}
"""Page with the version of each server, below the address of its API."""
LOGINS = {
    "prefect": "set PREFECT_API_AUTH_STRING to USER:PASSWORD (`reviewlm services password` shows it on its machine)",
    "mlflow": "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
}
URL = "PREFECT_API_URL"
AGAIN = "`reviewlm services stop`, then `reviewlm services start`"


def check_servers(config: RunConfig) -> Iterator[HealthLine]:
    """Check that the servers that `services start` started run, answer, and have the installed version."""
    running = {service.name: service for service in service_list.running(config.home)}
    for name, (title, _, _) in launch.SERVERS.items():
        if name in running:
            address = running[name].address + ("/api" if name == "prefect" else "")
            again = f"{AGAIN}; see {config.home / 'logs' / f'{name}.log'}"
            yield _server_line(title, name, address, _login(config.home), again, again)
        else:
            yield HealthLine(title, "ok", "not running; commands work without it, `reviewlm services start` starts it")
    if "prefect" in running:
        if lost := [f"worker-{pool}" for pool in usable_pools() if f"worker-{pool}" not in running]:
            yield HealthLine("workers", "warning", f"not running: {', '.join(lost)}", "`services start` starts them")
        yield from _pools_and_limits(config.home, running["prefect"].address)


def check_named_server(config: RunConfig) -> Iterator[HealthLine]:
    """Check that the Prefect server that PREFECT_API_URL names answers, and has a version that fits."""
    if url := os.environ.get(URL, "").rstrip("/"):
        login = os.environ.get("PREFECT_API_KEY") or os.environ.get("PREFECT_API_AUTH_STRING", "")
        remedy = f"start it, unset {URL}, or correct it: it ends in /api, as http://127.0.0.1:4200/api"
        yield _server_line(URL, "prefect", url, login, remedy)


def check_tracking(config: RunConfig) -> Iterator[HealthLine]:
    """Check that the tracking database opens and has the tables of the installed MLflow, or that the server answers."""
    from tracking.client import reaching
    from tracking.database import is_ready, require_current, require_current_at

    uri = config.tracking_address
    if uri.startswith("http"):
        local = any(service.address == uri for service in service_list.running(config.home))
        user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD"))
        login = f"{user}:{password}" if user else _login(config.home) if local else ""
        remedy = "start it, or correct execution.tracking_uri; until then, runs keep their writes in the home folder"
        yield _server_line("tracking", "mlflow", uri.rstrip("/"), login, remedy)
        return
    file = database_file(uri)
    with reaching(uri):
        made = is_ready(file) if file else require_current_at(uri)
        if file and made:
            require_current(file)
    found = f"has the tables of MLflow {version('mlflow')}" if made else "has no tables yet: the first run makes them"
    yield HealthLine("tracking", "ok", f"{without_password(uri)} {found}")


def check_champions(config: RunConfig) -> Iterator[HealthLine]:
    """Check that each champion of the local database that was decided on is still there."""
    from tracking.registry.decisions import lost_champion_of
    from tracking.registry.opening import champion_again, tracker_at
    from tracking.registry.versions import decided_names

    tracker = tracker_at(config)
    names = decided_names(tracker)
    lost = {name: how for name in names if (how := lost_champion_of(tracker, name))}
    for name, how in lost.items():
        yield HealthLine("champion", "problem", f"'{name}' has lost its champion: {how}", champion_again(tracker, name))
    if names and not lost:
        yield HealthLine("champion", "ok", "no alias was taken away, and no champion deleted, in MLflow")


def _server_line(check: str, package: str, address: str, login: str, remedy: str, denied: str = "") -> HealthLine:
    """Return whether a server answers, accepts the credentials, and has a version that fits the installed package."""
    shown, installed = without_password(address), version(package)
    try:
        there = ask(address + VERSIONS[package], login).strip().strip('"')
    except HTTPError as error:
        if error.code == 401:
            return HealthLine(check, "problem", f"{shown} does not accept the credentials", denied or LOGINS[package])
        reason = " ".join(error.read(200).decode("utf-8", "replace").split())
        return HealthLine(check, "problem", f"{shown} answers with error {error.code}: {reason}", remedy)
    except (OSError, ValueError, HTTPException) as error:
        return HealthLine(check, "problem", f"{shown} does not answer: {getattr(error, 'reason', error)}", remedy)
    if not re.fullmatch(r"\d+\.\d+\S{0,30}", there):
        return HealthLine(check, "problem", f"{shown} answers, but not as the API of {package}", remedy)
    parts = [one.split(".") for one in (there, installed)]
    state: State = "ok" if parts[0][:2] == parts[1][:2] else "warning" if parts[0][0] == parts[1][0] else "problem"
    found = f"{shown} answers, version {there} (installed: {installed})"
    return HealthLine(check, state, found, "" if state == "ok" else "use the same version on both sides")


def _pools_and_limits(home: Path, address: str) -> Iterator[HealthLine]:
    """Compare the pools, limits and deployments of a Prefect server with those that the project needs."""
    present: dict[str, set[str]] = {}
    try:
        for what, path in (("pool", "work_pools"), ("limit", "v2/concurrency_limits"), ("deployment", "deployments")):
            answer = json.loads(ask(f"{address}/api/{path}/filter", _login(home), {"limit": 200}))
            present[what] = {str(entry["name"]) for entry in answer}
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield HealthLine("pools and limits", "warning", f"Prefect does not list them: {error}", AGAIN)
        return
    pools = usable_pools()
    needed = {"pool": set(pools), "limit": set(LIMITS), "deployment": set(deployments_of(pools))}
    missing = [f"{what} {name}" for what, names in needed.items() for name in sorted(names - present[what])]
    if missing:
        yield HealthLine("pools and limits", "problem", f"missing: {', '.join(missing)}",
                         f"{AGAIN} creates them; without a limit, runs do not wait for each other")  # fmt: skip
    else:
        counts = ", ".join(f"{len(names)} {what}s" for what, names in needed.items())
        yield HealthLine("pools and limits", "ok", f"{counts} are there")


def ask(url: str, login: str = "", body: Any = None) -> str:
    """Return the answer of a server.

    Args:
        url: Page of the server.
        login: "user:password" of HTTP Basic, a key without a colon, or "".
        body: Value to send as JSON; None for a GET request.

    Raises:
        OSError, ValueError, HTTPException: The server does not answer, or answers with an error.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError("not an address of a web server")
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    if login:
        scheme = f"Basic {base64.b64encode(login.encode()).decode()}" if ":" in login else f"Bearer {login}"
        request.add_header("Authorization", scheme)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return str(answer.read(1_000_000).decode("utf-8", "replace"))


def _login(home: Path) -> str:
    """Return "user:password" of this home's servers, "" if there is none; unlike `password_of`, it makes none."""
    with suppress(OSError, UnicodeDecodeError):
        return f"{USER}:{(home / PASSWORD_FILE).read_text(encoding='ascii').strip()}"
    return ""
