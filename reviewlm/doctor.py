"""Check a machine and a home folder for `reviewlm doctor`: nothing is changed and no server is started.

Each check yields lines, or raises a ReviewLMError. A check that fails or takes too long becomes a line of its own.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from reviewlm.core.credentials import PASSWORD_FILE, USER
from reviewlm.core.environment import available_cores, busy, present_gpus, visible_gpu_names
from reviewlm.core.errors import ReviewLMError, without_password
from reviewlm.core.extras import install_command
from reviewlm.core.processes.leftovers import lasting_folder
from reviewlm.core.services import launch, service_list
from reviewlm.core.services.pools import login_of, request, usable_pools
from reviewlm.terminal import size

if TYPE_CHECKING:
    from reviewlm.core.workspace import Workspace

State = Literal["ok", "warning", "problem"]
SECONDS = 10.0
"""Time for all checks. A folder of a network disk that is gone can make a check wait for minutes."""
PATIENCE = 3.0
"""Seconds to wait for the answer of a server."""
HOME_BYTES = (200e6, 2e9)
"""Free space of the home folder below which commands fail (the demo writes 141 MB), and are likely to fail."""
TEMPORARY_BYTES = (50e6, 500e6)
MEMORY_BYTES = (500e6, 2e9)
"""Memory below which importing the frameworks alone fails, and below which training is likely to fail."""
SECRETS = ("tokens.json", "mlflow.db", "store")
"""Parts of a home that other users should not read: passwords, reviews, personal data."""
VERSIONS = {"prefect": "/admin/version", "mlflow": "/version"}
"""Page with the version of each server, below the address of its API."""
LOGINS = {
    "prefect": "set PREFECT_API_AUTH_STRING to USER:PASSWORD (`reviewlm services password` shows it on its machine)",
    "mlflow": "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
}
URL = "PREFECT_API_URL"
START_AGAIN = "`reviewlm services start` starts them again"
KEPT_BY = (
    "`reviewlm services start --stay` does it, under systemd by deploy/systemd/reviewlm.service"
)
AGAIN = "`reviewlm services stop`, then `reviewlm services start`"


@dataclass(frozen=True)
class HealthLine:
    """Result of a check of `reviewlm doctor`.

    Args:
        check: Name of the check.
        state: "problem" if commands will fail, "warning" if something may fail or is slower than it could be.
        found: What was found.
        remedy: What to do about it; empty if nothing needs to be done.
    """

    check: str
    state: State
    found: str
    remedy: str = ""

    def in_words(self) -> str:
        """Return the result as one line of the terminal."""
        remedy = f". To do: {self.remedy}" if self.remedy else ""
        return " ".join(f"{self.state:<8} {self.check}: {self.found}{remedy}".splitlines())


def check_packages(workspace: Workspace) -> Iterator[HealthLine]:
    """Compare installed packages with the versions that the project declares."""
    from packaging.requirements import Requirement

    declared = map(Requirement, requires("reviewlm") or [])
    needed = [one for one in declared if not one.marker or one.marker.evaluate({"extra": ""})]
    wrong: list[str] = []
    for one in needed:
        try:
            installed = version(one.name)
        except PackageNotFoundError:
            installed = ""
        if not installed or not one.specifier.contains(installed, prereleases=True):
            wrong.append(
                f"{one.name} {installed or 'is missing'} (needed: {one.specifier or 'any'})"
            )

    if wrong:
        raise ReviewLMError("; ".join(wrong), remedy=install_command())

    found = f"{len(needed)} have the declared versions, for Python {platform.python_version()} ({sys.executable})"
    yield HealthLine("packages", "ok", found)


def check_memory(workspace: Workspace) -> Iterator[HealthLine]:
    """Compare the available memory, also that of a container, with what commands need."""
    import psutil

    free = float(psutil.virtual_memory().available)
    with suppress(OSError, ValueError):  # no control group, or "max"
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        free = min(free, limit - int((group / "memory.current").read_text()))

    yield _amount(
        "memory",
        free,
        MEMORY_BYTES,
        "available",
        "end other programs, or choose smaller models",
    )


def check_load(workspace: Workspace) -> Iterator[HealthLine]:
    """Say whether other programs keep the processor busy."""
    if sentence := busy():
        yield HealthLine(
            "load",
            "warning",
            sentence,
            "wait for the other programs, or end them: commands take longer",
        )
    else:
        yield HealthLine(
            "load", "ok", f"{os.getloadavg()[0]:.1f} processes want the {available_cores()} cores"
        )


def check_disks(workspace: Workspace) -> Iterator[HealthLine]:
    """Check the free space of the home folder and of the temporary folder."""
    for name, folder, limits, variable in (
        ("disk", workspace.home, HOME_BYTES, "REVIEWLM_HOME"),
        ("temporary files", lasting_folder(), TEMPORARY_BYTES, "TMPDIR"),
    ):
        place = next(at for at in (folder, *folder.parents) if at.exists())
        remedy = f"free some space, or name another folder with {variable}"
        yield _amount(
            name,
            shutil.disk_usage(place).free,
            limits,
            f"free in {place}",
            remedy,
        )


def _amount(
    name: str,
    free: float,
    limits: tuple[float, float],
    what: str,
    remedy: str,
) -> HealthLine:
    fails, tight = limits
    state: State = "ok"
    if free < fails:
        state = "problem"
    elif free < tight:
        state = "warning"
    return HealthLine(name, state, f"{size(int(free))} {what}", "" if state == "ok" else remedy)


def check_gpu(workspace: Workspace, devices: Path = Path("/dev")) -> Iterator[HealthLine]:
    """Say whether a GPU is used, and if not, why. *devices*: folder of device files."""
    device = workspace.execution.device
    present = present_gpus(devices)
    if device == "cpu" or not present:
        needed = device == "cuda"
        result = "no GPU found" if needed else "none, the processor is used"
        yield HealthLine(
            "GPU",
            "problem" if needed else "ok",
            result,
            "set execution.device=auto" if needed else "",
        )
        return

    reason = "it is hidden by CUDA_VISIBLE_DEVICES"
    remedy = "unset it"
    if visible_gpu_names(devices):
        from reviewlm.models.neural.device import gpu_problem

        reason = gpu_problem()
        remedy = "update the driver, or install the build of torch for its CUDA"

    if reason:
        state: State = "problem" if device == "cuda" else "warning"
        yield HealthLine(
            "GPU", state, f"there is one, but {reason}", f"{remedy} (docs/how_to/gpu_worker.md)"
        )
    else:
        yield HealthLine("GPU", "ok", f"{present}, which torch can use")


def check_access(workspace: Workspace) -> Iterator[HealthLine]:
    """Check that the home folder and its store can be written, or created."""
    for folder in (workspace.home, workspace.home / "store"):
        nearest = next(at for at in (folder, *folder.parents) if os.path.lexists(at))
        if not nearest.is_dir():
            raise ReviewLMError(f"{nearest} is not a folder", remedy="move it aside")
        if not os.access(nearest, os.W_OK | os.X_OK):
            remedy = "give yourself write permission, or choose another folder with REVIEWLM_HOME"
            raise ReviewLMError(f"{nearest} cannot be written to", remedy=remedy)

    check_format(workspace.home)
    state = "" if workspace.home.exists() else ", which the first command creates"
    yield HealthLine("home", "ok", f"{workspace.home}{state}")


def check_format(home: Path) -> None:
    """Raise an error if another version of ReviewLM has made a home."""
    from reviewlm.core.home_format import FORMAT, OtherFormat, number_of
    from reviewlm.tracking.home_examination import OLDER, seems_older

    number = number_of(home)
    if number not in (None, FORMAT):
        raise OtherFormat(home, str(number))
    if seems_older(home):
        raise OtherFormat(home, OLDER)


def check_secrets(workspace: Workspace) -> Iterator[HealthLine]:
    """Check that other users cannot read the password and the reviews."""
    home = workspace.home
    group = workspace.execution.group_access
    closed = home.is_dir() and not _open_to_others(home, group)
    if _open_to_others(home / PASSWORD_FILE, group=False):
        found = f"other users may read {home / PASSWORD_FILE}"
        raise ReviewLMError(found, remedy=f"delete it; {AGAIN} make a new password")

    if exposed := [name for name in SECRETS if not closed and _open_to_others(home / name, group)]:
        found = f"other users may read {', '.join(exposed)} in {home}"
        yield HealthLine("secrets", "warning", found, "chmod -R go-rwx on them")
    else:
        yield HealthLine("secrets", "ok", "only you may read passwords and reviews of this home")


def _open_to_others(path: Path, group: bool) -> bool:
    """Return whether others may read a file or folder; with *group*, the members of its group may."""
    return path.exists() and bool(stat.S_IMODE(path.stat().st_mode) & (0o007 if group else 0o077))


def check_upgrade(workspace: Workspace) -> Iterator[HealthLine]:
    """Check that Prefect's tables are those of the installed version."""
    from reviewlm.flows.server.tables import require_current_tables

    require_current_tables(workspace.home)
    yield HealthLine("upgrade", "ok", "Prefect's tables are current, or in another database")


def check_tracking(workspace: Workspace) -> Iterator[HealthLine]:
    """Check that the tracking database opens and has the tables of the installed MLflow, or that the server answers."""
    from reviewlm.tracking.client import reaching
    from reviewlm.tracking.database import has_tables

    uri = workspace.tracking_address
    if uri.startswith("http"):
        local = any(service.address == uri for service in service_list.running(workspace.home))
        user, password = (
            os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD")
        )
        login = ""
        if user:
            login = f"{user}:{password}"
        elif local:
            login = _login(workspace.home)
        remedy = "start it, or correct execution.tracking_uri; until then, runs keep their writes in the home folder"
        yield _server_line(
            "tracking",
            "mlflow",
            uri.rstrip("/"),
            login,
            remedy,
        )
        return

    with reaching(uri):
        made = has_tables(uri)

    found = "has no tables yet: the first run makes them"
    if made:
        found = f"has the tables of MLflow {version('mlflow')}"

    yield HealthLine("tracking", "ok", f"{without_password(uri)} {found}")


def check_champions(workspace: Workspace) -> Iterator[HealthLine]:
    """Check that each champion of the local database is still there, with all its files as they were written."""
    from reviewlm.tracking.registry.locating import tracker_at
    from reviewlm.tracking.registry.opening import unusable_champion
    from reviewlm.tracking.registry.remedies import advice_without_champion, lost_champion
    from reviewlm.tracking.registry.versions import model_names

    tracker = tracker_at(workspace)
    decided = model_names(tracker, decided=True)
    lost = {name: how for name in decided if (how := lost_champion(tracker, name))}
    for name, how in lost.items():
        yield HealthLine(
            "champion",
            "problem",
            f"'{name}' has lost its champion: {how}",
            advice_without_champion(tracker, name),
        )

    names = model_names(tracker)
    unusable = {name: error for name in names if (error := unusable_champion(tracker, name))}
    for name, error in unusable.items():
        yield HealthLine(
            "champion",
            "problem",
            f"the champion of '{name}' cannot be used: {error.cause or error.what} ({error.where})",
            error.remedy,
        )

    if decided and not lost and not unusable:
        yield HealthLine(
            "champion",
            "ok",
            "no alias was taken away, and no champion deleted, in MLflow; the files of all champions are whole",
        )


def check_decisions(workspace: Workspace) -> Iterator[HealthLine]:
    """Check that each event of the decision logs of the local database can be read, and is as it was written."""
    from reviewlm.tracking.home_examination import seems_older
    from reviewlm.tracking.registry.decisions import (
        ALIASES_COUNT,
        complaints,
        fold_events,
        is_changed,
    )
    from reviewlm.tracking.registry.locating import tracker_at
    from reviewlm.tracking.registry.registry import Registry
    from reviewlm.tracking.registry.versions import model_names

    if seems_older(workspace.home):  # the check of the home says so
        return

    tracker = tracker_at(workspace)
    logs = {name: Registry(tracker, name).events() for name in model_names(tracker, decided=True)}
    harmed = {name: faults for name, events in logs.items() if (faults := complaints(events))}
    for name, faults in harmed.items():
        found = f"that of '{name}' is damaged: {'; '.join(faults)}"
        healed = fold_events(logs[name]).known and not any(map(is_changed, logs[name]))
        if healed:
            found += "; the aliases were recorded after it"
        yield HealthLine("decision log", "warning" if healed else "problem", found, ALIASES_COUNT)

    if logs and not harmed:
        yield HealthLine("decision log", "ok", "all events are as they were written")


def check_writes(workspace: Workspace) -> Iterator[HealthLine]:
    """Count runs that killed processes left open, runs that wait for MLflow, and parts of runs that it refused."""
    from reviewlm.tracking.runs.record import open_locks, waiting_runs

    left = len(open_locks(workspace.home, held=False))
    waiting = waiting_runs(workspace.home)
    if left:
        remedy = "nothing to do: the next command that uses this home ends them"
        yield HealthLine(
            "writes to MLflow", "warning", f"killed processes left {left} runs open", remedy
        )

    for row in waiting:
        store = without_password(row["store"])
        refused = row["refused"]
        found = f"{row['waiting']} runs wait for {store}, {refused} parts of runs were refused"
        yield HealthLine(
            "writes to MLflow",
            "warning",
            found,
            "`reviewlm home sync` sends them, once MLflow answers",
        )

    if not left and not waiting:
        yield HealthLine("writes to MLflow", "ok", "nothing waits, no run was left open")


def check_servers(workspace: Workspace) -> Iterator[HealthLine]:
    """Check that the services that `services start` started run, answer, and have the installed version."""
    home = workspace.home
    running = {service.name: service for service in service_list.running(home)}
    ended = [service.name for service in service_list.killed_services(home)]
    for name, (title, _, _) in launch.SERVERS.items():
        if name in running:
            address = running[name].address + ("/api" if name == "prefect" else "")
            again = f"{AGAIN}; see {home / 'logs' / f'{name}.log'}"
            yield _server_line(
                title,
                name,
                address,
                _login(home),
                again,
                again,
            )
        elif name not in ended:
            yield HealthLine(
                title,
                "ok",
                "not running; commands work without it, `reviewlm services start` starts it",
            )

    if ended:
        found = f"{', '.join(ended)}: started, and ended without `services stop`: killed, or the machine was restarted"
        alerts = "; without Prefect's server there are no alerts" if "prefect" in ended else ""
        yield HealthLine("services", "problem", found + alerts, f"{START_AGAIN}; {KEPT_BY}")
    elif running and not service_list.is_watched(home):
        found = f"running until `reviewlm services stop`; after a kill or a restart of the machine: {KEPT_BY}"
        yield HealthLine("services", "ok", found)
    elif running:
        yield HealthLine("services", "ok", "watched: a killed one is started again")

    needed = []
    if "prefect" in running:
        needed = [f"worker-{pool}" for pool in usable_pools()]

    if lost := [worker for worker in needed if worker not in (*running, *ended)]:
        yield HealthLine(
            "workers", "warning", f"not running: {', '.join(lost)}", "`services start` starts them"
        )


def check_named_server(workspace: Workspace) -> Iterator[HealthLine]:
    """Check that the Prefect server that PREFECT_API_URL names answers, and has a version that fits."""
    if url := os.environ.get(URL, "").rstrip("/"):
        remedy = (
            f"start it, unset {URL}, or correct it: it ends in /api, as http://127.0.0.1:4200/api"
        )
        yield _server_line(
            URL,
            "prefect",
            url,
            login_of(os.environ),
            remedy,
        )


def _server_line(
    check: str,
    package: str,
    address: str,
    login: str,
    remedy: str,
    denied: str = "",
) -> HealthLine:
    """Return whether a server answers, accepts the credentials, and has a version that fits the installed package."""
    import httpx

    shown = without_password(address)
    installed = version(package)
    try:
        there = (
            request(address + VERSIONS[package], login, seconds=PATIENCE).text.strip().strip('"')
        )
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        if status == 401:
            return HealthLine(
                check,
                "problem",
                f"{shown} does not accept the credentials",
                denied or LOGINS[package],
            )
        reason = " ".join(error.response.text[:200].split())
        return HealthLine(
            check, "problem", f"{shown} answers with error {status}: {reason}", remedy
        )
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return HealthLine(check, "problem", f"{shown} does not answer: {error}", remedy)

    if not re.fullmatch(r"\d+\.\d+\S{0,30}", there):
        return HealthLine(
            check, "problem", f"{shown} answers, but not as the API of {package}", remedy
        )

    parts = [one.split(".") for one in (there, installed)]
    state: State = "problem"
    if parts[0][:2] == parts[1][:2]:
        state = "ok"
    elif parts[0][0] == parts[1][0]:
        state = "warning"

    found = f"{shown} answers, version {there} (installed: {installed})"
    return HealthLine(
        check, state, found, "" if state == "ok" else "use the same version on both sides"
    )


def _login(home: Path) -> str:
    """Return "user:password" of this home's servers, "" if there is none; unlike `credentials.password_of`, it makes none."""
    with suppress(OSError, UnicodeDecodeError):
        return f"{USER}:{(home / PASSWORD_FILE).read_text(encoding='ascii').strip()}"
    return ""


Check = Callable[["Workspace"], Iterator[HealthLine]]
CHECKS: Mapping[str, Check] = {
    "packages": check_packages,
    "load": check_load,
    "memory": check_memory,
    "disk": check_disks,
    "GPU": check_gpu,
    "home": check_access,
    "secrets": check_secrets,
    "upgrade": check_upgrade,
    "tracking": check_tracking,
    "champion": check_champions,
    "decision log": check_decisions,
    "writes to MLflow": check_writes,
    "servers": check_servers,
    "PREFECT_API_URL": check_named_server,
}
"""All checks, in the order in which they are shown."""


def examine(
    workspace: Workspace,
    checks: Mapping[str, Check] = CHECKS,
    seconds: float = SECONDS,
) -> list[HealthLine]:
    """Return the results of all checks, side by side; a check that does not end in time is a problem."""
    late = "look at the disk or the server that it asks; other commands may hang there, too"
    lines = {
        name: [HealthLine(name, "problem", f"no result within {seconds:g} seconds", late)]
        for name in checks
    }
    threads = []
    for name, check in checks.items():
        threads.append(
            threading.Thread(
                target=lambda n=name, c=check: lines.update({n: _lines(n, c, workspace)}),
                daemon=True,
            )
        )

    for thread in threads:
        thread.start()

    until = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))

    return [line for name in checks for line in lines[name]]


def _lines(
    name: str,
    check: Check,
    workspace: Workspace,
) -> list[HealthLine]:
    """Return the results of a check; an error of the check itself is a problem with its message."""
    lines: list[HealthLine] = []
    try:
        lines.extend(check(workspace))
    except Exception as raised:
        if isinstance(raised, ReviewLMError):
            error = raised
        else:
            error = ReviewLMError(
                f"the check failed: {type(raised).__name__}",
                cause=str(raised) or "no message",
                remedy="correct what the message names, then run it again",
            )

        found = (
            error.what
            + (f": {error.cause}" if error.cause else "")
            + (f" ({error.where})" if error.where else "")
        )
        lines.append(HealthLine(name, "problem", without_password(found), error.remedy))

    return lines
