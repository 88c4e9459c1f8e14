"""Check the servers and databases that a home uses: Prefect, MLflow, ports, pools and limits."""

from __future__ import annotations

import base64
import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from core.credentials import PASSWORD_FILE, USER
from core.errors import ReviewLMError, without_password
from core.services import launch, service_list
from core.services.pools import LIMITS, deployments_of, usable_pools
from core.services.service_list import DEFAULT_PORTS, kept_ports
from core.storing.sqlite_files import database_file
from reviewlm.doctor.health_line import HealthLine

if TYPE_CHECKING:
    from core.config.run_config import RunConfig

PATIENCE = 3.0
"""Seconds to wait for the answer of a server."""
VERSIONS = {"prefect": "/api/admin/version", "mlflow": "/version"}
"""Page with the version of each server."""
AGAIN = "`reviewlm services stop`, then `reviewlm services start`"


def check_servers(config: RunConfig) -> Iterator[HealthLine]:
    """Check that the servers that `services start` started run, answer, and have the installed version."""
    running = {service.name: service for service in service_list.running(config.home)}
    for name, (title, _, _) in launch.SERVERS.items():
        if name in running:
            yield _server_line(config.home, name, title, running[name].address)
        else:
            yield HealthLine(title, "ok", "not running; commands work without it, `reviewlm services start` starts it")
    if "prefect" in running:
        if lost := [f"worker-{pool}" for pool in usable_pools() if f"worker-{pool}" not in running]:
            yield HealthLine("workers", "warning", f"not running: {', '.join(lost)}", "`services start` starts them")
        yield from _pools_and_limits(config.home, running["prefect"].address)


def _server_line(home: Path, name: str, title: str, address: str) -> HealthLine:
    installed = installed_version(name)
    log = home / "logs" / f"{name}.log"
    try:
        answer = ask(address + VERSIONS[name], _login(home))
    except urllib.error.HTTPError as error:
        refused = error.code == 401
        reaction = "does not accept the password of this home" if refused else f"answers with error {error.code}"
        return HealthLine(title, "problem", f"{address} {reaction}", f"{AGAIN}; see {log}")
    except OSError as error:
        return HealthLine(title, "problem", f"runs, but {address} does not answer: {error}", f"{AGAIN}; see {log}")
    there = answer.strip().strip('"')
    if there != installed:
        return HealthLine(title, "warning", f"has version {there}, installed is {installed}", AGAIN)
    return HealthLine(title, "ok", f"{address}, version {there}")


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


def check_ports(config: RunConfig) -> Iterator[HealthLine]:
    """Check that no other program uses the ports of this home's pages."""
    running = {service.name for service in service_list.running(config.home)}
    ports = {**DEFAULT_PORTS, **kept_ports(config.home)}
    taken = [
        f"{ports[name]} ({name})" for name in launch.SERVERS if name not in running and not _is_free(ports[name])
    ]  # the champion's server is left out: no link leads there, and a user may have started one alone
    if taken:
        yield HealthLine("ports", "warning", f"another program uses {', '.join(taken)}",
                         "nothing to do, `services start` takes others; links in earlier runs lead to the old ones")
    else:
        yield HealthLine("ports", "ok", "free, or used by the servers of this home")


def _is_free(port: int) -> bool:
    """Return whether a server could listen on a port; nothing listens there meanwhile."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return True
    return False


def check_tracking(config: RunConfig) -> Iterator[HealthLine]:
    """Check that the tracking database opens and has the tables of the installed MLflow, or that the server answers."""
    uri = config.tracking_address
    try:
        if file := database_file(uri):
            yield _database_line(file)
        elif uri.startswith("postgresql"):
            yield _postgres_line(uri)
        else:
            yield _tracking_server_line(config.home, uri.rstrip("/"))
    except ReviewLMError as error:
        message = f"{error.what}{f': {error.cause}' if error.cause else ''}"
        yield HealthLine("tracking", "problem", f"{message} ({without_password(error.where)})", error.remedy)


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


def _database_line(file: Path) -> HealthLine:
    from tracking.database import is_ready, require_current

    if not is_ready(file):
        return HealthLine("tracking", "ok", f"{file} does not exist yet" if not file.exists() else f"{file} is empty")
    require_current(file)
    return HealthLine("tracking", "ok", f"{file} opens and has the tables of MLflow {installed_version('mlflow')}")


def _postgres_line(uri: str) -> HealthLine:
    import psycopg

    from tracking.database import head_revision

    plain = f"postgresql://{uri.partition('://')[2]}"
    shown = without_password(plain)
    try:
        with psycopg.connect(plain, connect_timeout=int(PATIENCE)) as database:
            table = database.execute("SELECT to_regclass('alembic_version')").fetchone()
            if not table or table[0] is None:
                return HealthLine("tracking", "ok", f"{shown} answers and is empty: the first run creates its tables")
            row = database.execute("SELECT version_num FROM alembic_version").fetchone()
    except psycopg.Error as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        return HealthLine("tracking", "problem", without_password(f"{shown} does not answer: {first}"),
                          "start the database, or correct the address or ~/.pgpass (docs/how_to/deployment.md)")
    if row and (head := head_revision()) and row[0] != head:
        return HealthLine("tracking", "problem", f"{shown} has tables of another MLflow (revision {row[0]})",
                          f"make a copy of it, then: mlflow db upgrade {shown}")  # fmt: skip
    return HealthLine("tracking", "ok", f"{shown} answers and has the tables of MLflow {installed_version('mlflow')}")


def _tracking_server_line(home: Path, address: str) -> HealthLine:
    local = any(service.address == address for service in service_list.running(home))
    user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD"))
    login = f"{user}:{password}" if user else _login(home) if local else ""
    shown = without_password(address)
    try:
        there = ask(address + VERSIONS["mlflow"], login).strip()[:40]
    except urllib.error.HTTPError as error:
        denied = error.code in (401, 403)
        return HealthLine("tracking", "problem", f"{shown} answers with error {error.code}",
                          "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" if denied else
                          "check the address: is it an MLflow server?")  # fmt: skip
    except OSError as error:
        return HealthLine("tracking", "problem", f"{shown} does not answer: {error}",
                          "start it; until then, runs keep their writes in the home folder")  # fmt: skip
    installed = installed_version("mlflow")
    if there.split(".")[:1] != installed.split(".")[:1]:
        return HealthLine("tracking", "warning", f"{shown} has version {there}, installed is {installed}",
                          "use the same major version on both sides")  # fmt: skip
    return HealthLine("tracking", "ok", f"{shown} answers, version {there} (installed: {installed})")


def ask(url: str, login: str = "", body: Any = None) -> str:
    """Return the answer of a server.

    Args:
        url: Page of the server.
        login: "user:password" of HTTP Basic, or "".
        body: Value to send as JSON; None for a GET request.

    Raises:
        OSError: The server does not answer, or answers with an error.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise OSError("not an address of a web server")
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    if login:
        request.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return str(answer.read(1_000_000).decode("utf-8", "replace"))


def _login(home: Path) -> str:
    """Return "user:password" of this home's servers, "" if there is none; unlike `password_of`, it makes none."""
    with suppress(OSError, UnicodeDecodeError):
        return f"{USER}:{(home / PASSWORD_FILE).read_text(encoding='ascii').strip()}"
    return ""


def installed_version(name: str) -> str:
    """Return the version of an installed package; "none" without it."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
