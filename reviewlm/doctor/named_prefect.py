"""Check the Prefect server that PREFECT_API_URL names: version, clock, lease storage, limits, pools and deployments.

The servers of `services start` are checked in `servers.py`. Here only the address is known: the server may be of
another machine, of another version, or no Prefect server at all.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from core.environment import LEASES, visible_gpus
from core.errors import without_password
from core.services import service_list
from core.services.deployed_code import FOLDER, copies_of, problem_of
from core.services.pools import LIMITS, POOLS, deployments_of, size_of_limit
from core.services.prefect_api import ask, asked
from reviewlm.doctor.health_line import HealthLine, State
from reviewlm.doctor.servers import PATIENCE, installed_version

if TYPE_CHECKING:
    from core.config.run_config import RunConfig

URL, LOGIN = "PREFECT_API_URL", "PREFECT_API_AUTH_STRING"
CLOCK_SECONDS = (5.0, 60.0)
"""Difference of the clocks from which there is a warning, and a problem: heartbeats have the time of their machine."""
ON_DISK = LEASES[1]
IN_MEMORY = "prefect.server.concurrency.lease_storage.memory"
MOST = 200
TOLD = (401, 403, 404)
"""Errors of which the check of the version tells, too."""
AS = "correct it: the address of Prefect's API ends in /api, as http://127.0.0.1:4200/api"
DEPLOY = "`python -m core.services.foreground worker-cpu-pool` creates pools, limits and deployments, and is a worker"
KUBERNETES = "docs/how_to/deployment.md"


def check_named_server(config: RunConfig) -> Iterator[HealthLine]:
    """Check that the server answers as a Prefect API, has a version that fits, a right clock, and keeps its leases."""
    if not (url := os.environ.get(URL, "")):
        return
    shown, began = without_password(url), time.time()
    if urlsplit(url).scheme not in ("http", "https"):
        yield HealthLine(URL, "problem", f"{shown} is not an address of a web server", AS)
        return
    try:
        answer, headers = asked(_environment(url), "GET", "/admin/version", None, PATIENCE)
        there = _version_in(answer)
    except HTTPError as error:
        yield HealthLine(URL, "problem", f"{shown} {_refusal(error)}", _remedy_of(error))
        return
    except OSError as error:
        why = f"{shown} does not answer: {getattr(error, 'reason', error)}"
        yield HealthLine(URL, "problem", why, f"start that server, correct {URL}, or unset it to do without")
        return
    except (ValueError, HTTPException):
        yield HealthLine(URL, "problem", f"{shown} answers, but not as the API of a Prefect server", AS)
        return
    yield _version_line(shown, there)
    yield from _clock_line(headers, began, time.time())
    yield from _lease_line(url)


def _environment(url: str) -> dict[str, str]:
    return {**os.environ, URL: url.rstrip("/")}


def _version_in(answer: bytes) -> str:
    """Return the version that a server has told; ValueError if it has told something else, as its pages do."""
    version = json.loads(answer)
    if not isinstance(version, str):
        raise ValueError("no version")
    return version


def _refusal(error: HTTPError) -> str:
    """Return what a server has answered, in words."""
    if error.code == 401:
        sent = os.environ.get(LOGIN) or os.environ.get("PREFECT_API_KEY")
        return "does not accept the credentials" if sent else "needs credentials, and none are set"
    reason = " ".join(error.read(200).decode("utf-8", "replace").split())
    return f"answers with error {error.code}" + (f": {reason}" if error.code == 403 and reason else "")


def _remedy_of(error: HTTPError) -> str:
    if error.code == 401:
        return f"set {LOGIN} to USER:PASSWORD of that server (`reviewlm services password` shows it on its machine)"
    if error.code == 403:
        return "on the machine of the server, add this name to REVIEWLM_UI_HOSTS and start the services again"
    return AS


def _version_line(shown: str, there: str) -> HealthLine:
    ours = installed_version("prefect")
    same = [one.split(".")[:2] for one in (there, ours)]
    if same[0] == same[1]:
        return HealthLine(URL, "ok", f"{shown} answers, version {there} (installed: {ours})")
    state: State = "warning" if same[0][:1] == same[1][:1] else "problem"
    return HealthLine(URL, state, f"{shown} has version {there}, installed is {ours}",
                      "install the same version on both sides; the server first, if it is the older one")  # fmt: skip


def _clock_line(headers: Mapping[str, str], began: float, ended: float) -> Iterator[HealthLine]:
    """Compare the clocks as far as the answer tells: it has whole seconds, and was made between two times here."""
    check = f"{URL}: clock"
    try:
        there = parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        yield HealthLine(check, "ok", "the server does not tell its time")
        return
    behind, ahead = began - (there + 1.0), there - ended
    late, most = max(behind, ahead), CLOCK_SECONDS
    if late < most[0]:
        yield HealthLine(check, "ok", "as here, to a few seconds")
        return
    side = "behind" if behind > ahead else "ahead of"
    message = f"{late:.0f} seconds {side} that of this machine: schedules and the age of heartbeats are wrong"
    remedy = "let both machines take the time from the network (`timedatectl set-ntp true`)"
    yield HealthLine(check, "problem" if late >= most[1] else "warning", message, remedy)


def _lease_line(url: str) -> Iterator[HealthLine]:
    """Say whether the server keeps on disk who holds a place of a limit."""
    check = f"{URL}: lease storage"
    try:
        settings = ask(_environment(url), "GET", "/admin/settings", None, PATIENCE)
        storage = str(settings["server"]["concurrency"]["lease_storage"])
    except (OSError, ValueError, KeyError, TypeError):
        yield HealthLine(check, "ok", "the server does not tell it")
        return
    if storage == IN_MEMORY:
        lost = "in the server's memory: if it is started again, runs that hold a place end, and the place stays taken"
        yield HealthLine(check, "warning", lost, f"start that server with {'='.join(LEASES)}")
    else:
        yield HealthLine(check, "ok", "on disk" if storage == ON_DISK else storage)


@dataclass(frozen=True)
class PrefectContents:
    """What a Prefect server has, as its API describes it."""

    limits: Sequence[Mapping[str, Any]]
    pools: Sequence[Mapping[str, Any]]
    deployments: Sequence[Mapping[str, Any]]


def check_named_contents(config: RunConfig) -> Iterator[HealthLine]:
    """Check limits, work pools with their workers, deployments, and the copies of the code that these use.

    Nothing is said of a server that does not answer (`check_named_server` does), or that `services start` has started.
    """
    url = os.environ.get(URL, "").rstrip("/")
    if not url or url in {f"{service.address}/api" for service in service_list.running(config.home)}:
        return
    environment = _environment(url)
    try:
        contents = PrefectContents(*(
            ask(environment, "POST", f"/{path}/filter", {"limit": MOST}, PATIENCE)
            for path in ("v2/concurrency_limits", "work_pools", "deployments")
        ))  # fmt: skip
        ours = [one for one in contents.deployments if one["name"] in deployments_of(POOLS)]
        yield from _limit_lines(contents)
        yield from _deployment_lines(config, ours)
        for name in _needed_pools(config, ours):
            yield _pool_line(environment, contents, name)
    except HTTPError as error:
        if error.code not in TOLD:
            yield HealthLine(f"{URL}: contents", "warning", f"the server does not list them: {error}", "see its log")
    except (OSError, ValueError, HTTPException):
        return


def _limit_lines(contents: PrefectContents) -> Iterator[HealthLine]:
    """Check that each limit is there, is on, and lets the right number of runs go on at a time."""
    check, limits, right = f"{URL}: limits", {str(one["name"]): one for one in contents.limits}, list[str]()
    for name in LIMITS:
        if (limit := limits.get(name)) is None:
            yield HealthLine(check, "problem", f"{name} is missing: runs end at their start",
                             f"`prefect gcl create {name} --limit {size_of_limit(name)}`")  # fmt: skip
            continue
        size, gpus = int(limit["limit"]), visible_gpus()
        if not limit.get("active", True):
            yield HealthLine(check, "problem", f"{name} is switched off: runs do not wait for each other",
                             f"`prefect gcl enable {name}`")  # fmt: skip
        elif size < 1:
            yield HealthLine(check, "problem", f"{name} has no place: runs wait for ever",
                             f"`prefect gcl update {name} --limit {size_of_limit(name)}`")  # fmt: skip
        elif name != "gpu" and size > 1:
            yield HealthLine(check, "warning", f"{name} has {size} places: so many go on at the same time",
                             "nothing to do if machines with homes of their own share it; otherwise "
                             f"`prefect gcl update {name} --limit 1`")  # fmt: skip
        elif name == "gpu" and size < gpus:
            yield HealthLine(check, "warning", f"gpu has {size} places, and this machine alone has {gpus} GPUs",
                             f"`prefect gcl update gpu --limit {gpus}`, or the number of all machines")  # fmt: skip
        else:
            right.append(f"{name} {size}")
    if len(right) == len(LIMITS):
        yield HealthLine(check, "ok", ", ".join(right))


def _deployment_lines(config: RunConfig, ours: Sequence[Mapping[str, Any]]) -> Iterator[HealthLine]:
    """Check that deployments of `prefect.yaml` are there, if any is, and that the copies of their code are whole."""
    check, pools = f"{URL}: deployments", {str(one.get("work_pool_name")) for one in ours} & {*POOLS}
    if not ours:
        yield HealthLine(check, "ok", "none of this project: nothing runs by a schedule, commands need none")
        return
    there = {str(one["name"]) for one in ours}
    missing = [name for name in deployments_of(pools) if name not in there]
    paused = sorted(str(one["name"]) for one in ours if one.get("paused"))
    if missing:
        yield HealthLine(check, "warning", f"missing: {', '.join(missing)}", f"{DEPLOY}; in Kubernetes: {KUBERNETES}")
    else:
        off = f"; paused: {', '.join(paused)}" if paused else ""
        yield HealthLine(check, "ok", f"{len(ours)} are there{off}")
    yield from _code_lines(config, sorted(copies_of(dict(one) for one in ours)))


def _code_lines(config: RunConfig, copies: Sequence[str]) -> Iterator[HealthLine]:
    check, folder = f"{URL}: deployed code", config.home / FOLDER
    here = [name for name in copies if (folder / name).is_dir()]
    if copies and not here:
        elsewhere = "nothing to do if the workers have another home; there, `reviewlm doctor` looks at it"
        yield HealthLine(check, "warning", f"{', '.join(copies)} is not in {folder}", elsewhere)
        return
    if wrong := [f"{name}: {problem}" for name in copies if (problem := problem_of(folder / name))]:
        yield HealthLine(check, "problem", "; ".join(wrong), DEPLOY)
    elif copies:
        yield HealthLine(check, "ok", f"{', '.join(copies)} is whole")


def _needed_pools(config: RunConfig, ours: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the pools whose workers run our deployments."""
    named = [str(one["work_pool_name"]) for one in ours if one.get("work_pool_name")]
    return list(dict.fromkeys(named))


def _pool_line(environment: Mapping[str, str], contents: PrefectContents, name: str) -> HealthLine:
    check = f"{URL}: pool {name}"
    start = f"start one: `prefect worker start --pool {name}`"
    pool = next((one for one in contents.pools if one["name"] == name), None)
    if pool is None:
        return HealthLine(check, "problem", "there is no such pool", DEPLOY)
    workers = ask(environment, "POST", f"/work_pools/{name}/workers/filter", {"limit": MOST}, PATIENCE)
    online = [str(one["name"]) for one in workers if one.get("status") == "ONLINE"]
    if pool.get("is_paused"):
        return HealthLine(check, "warning", "paused: its runs wait", f"`prefect work-pool resume {name}`")
    if not online:
        return HealthLine(check, "problem", "no worker is online: its runs wait", start)
    return HealthLine(check, "ok", f"online: {', '.join(online)}")
