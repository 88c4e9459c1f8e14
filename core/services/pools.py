"""Create Prefect's work pools, limits, deployments and automations, as far as this machine can run them.

`prefect deploy` overwrites schedules and parameters with those of `prefect.yaml`, so what somebody switched on in
Prefect's pages would be off after it. A deployment that is there is therefore left as it is, unless that is wanted.

Prefect is asked over HTTP and never imported, which takes seconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reviewlm.core.environment import chosen_device, visible_gpu_names
from reviewlm.core.errors import ReviewLMError
from reviewlm.core.provenance import CHECKOUT, PACKAGE

if TYPE_CHECKING:
    from httpx import Response

POOLS = ("cpu-pool", "gpu-pool")
LIMITS = ("gpu", "promotion", "retrain")
PROJECT_VARIABLE = "REVIEWLM_PROJECT"
DEPLOYMENTS = PACKAGE / "prefect.yaml"
SECONDS, EXISTS = 60.0, 409
"""Time to wait for an answer of Prefect's server; its answer about a limit that exists already."""

MOST = 200
"""Deployments that the server is asked for."""


def working_folder(home: Path) -> Path:
    """Return the folder in which services run: relative paths in the parameters of deployments start from it.

    It is the one that REVIEWLM_PROJECT names; else the checkout; else the home. Prefect makes its files importable by
    each flow run, before all packages. So it is neither the folder of the installed package, whose rooms would be
    imported as `core` or `models`, nor that of the user, which may hold modules of these names.
    """
    if named := os.environ.get(PROJECT_VARIABLE):
        return Path(named).absolute()
    return CHECKOUT or home.absolute()


def size_of_limit(name: str) -> int:
    """Return the size that a limit is created with: as many fits as GPUs are visible, one promotion and one retrain."""
    return max(1, len(visible_gpu_names())) if name == "gpu" else 1


def usable_pools() -> tuple[str, ...]:
    """Return the pools that have a worker on this machine; a pool without one would stay "Not Ready" in Prefect."""
    return POOLS if chosen_device("auto") == "cuda" else POOLS[:1]


def deployments_of(pools: Collection[str]) -> list[str]:
    """Return the names of the deployments that run in these pools."""
    import yaml

    entries = yaml.safe_load(DEPLOYMENTS.read_text(encoding="utf-8"))["deployments"]
    return [entry["name"] for entry in entries if entry["work_pool"]["name"] in pools]


def deploy(
    environment: dict[str, str], pools: Collection[str], home: Path, again: bool = False
) -> None:
    """Create or overwrite the pools, create missing limits and deployments for these pools, and the automations.

    Args:
        environment: Names the server.
        pools: Pools that have a worker.
        home: Home folder, which has the addresses of alerts.
        again: Deploy everything as `prefect.yaml` says, also what is there.

    Raises:
        ReviewLMError: The server does not answer, or refuses.
    """
    for _, carry_out in deploy_steps(environment, pools, home, again):
        carry_out()


def deploy_steps(
    environment: dict[str, str], pools: Collection[str], home: Path, again: bool = False
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the steps of `deploy`, each with its name, for a command that says what takes the time."""
    for pool in pools:
        words = ("work-pool", "create", pool, "--type", "process", "--overwrite")
        yield f"pool {pool}", partial(_prefect, environment, home, *words)

    yield "limits", partial(_create_limits, environment)

    there = {one["name"] for one in _ask(environment, "/deployments/filter", {"limit": MOST}) or ()}
    names = [name for name in deployments_of(pools) if again or name not in there]
    if names:
        chosen = [word for name in names for word in ("--name", name)]
        file = ("--prefect-file", str(DEPLOYMENTS))
        command = partial(_prefect, environment, home, "--no-prompt", "deploy", *file, *chosen)
        yield f"{len(names)} deployments", command

    yield "alerts", partial(automate, environment, home)


def _create_limits(environment: dict[str, str]) -> None:
    for name in LIMITS:
        _ask(environment, "/v2/concurrency_limits/", {"name": name, "limit": size_of_limit(name)})


def _ask(environment: dict[str, str], path: str, body: dict[str, Any]) -> Any:
    """Return the answer of Prefect's server; None if what was to be created exists, which stays as it is."""
    import httpx

    try:
        return ask(environment, "POST", path, body, SECONDS)
    except (httpx.HTTPError, ValueError) as error:
        if isinstance(error, httpx.HTTPStatusError) and error.response.status_code == EXISTS:
            return None
        raise ReviewLMError(
            "Prefect's limits and deployments cannot be read or created",
            where=environment["PREFECT_API_URL"],
            cause=str(error),
            remedy="see logs/prefect.log of the home folder, and start the services again",
        ) from error


def automate(environment: dict[str, str], home: Path) -> None:
    """Create or update the automations: alerts, and what happens to lost runs (`flows/server/automations.py`)."""
    _run(
        environment,
        home,
        [sys.executable, "-P", "-m", "reviewlm.flows.server.automations", str(home)],
    )


def _prefect(environment: dict[str, str], home: Path, *arguments: str) -> None:
    _run(environment, home, [sys.executable, "-P", "-m", "prefect", *arguments])


def _run(environment: dict[str, str], home: Path, command: list[str]) -> None:
    folder = working_folder(home)
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        shown = " ".join([Path(command[0]).name, *command[1:]])
        raise ReviewLMError(
            f"`{shown}` failed", cause="\n".join((done.stdout + done.stderr).splitlines()[-8:])
        )


def ask(environment: Mapping[str, str], method: str, path: str, body: Any, seconds: float) -> Any:
    """Send a request to the Prefect server that an environment names; return its answer as JSON, None if it is empty.

    Args:
        environment: PREFECT_API_URL and what Prefect's own client would send as user.
        method: HTTP method.
        path: Path below PREFECT_API_URL.
        body: JSON values; None: no body.
        seconds: Time to wait.

    Raises:
        httpx.HTTPError, ValueError: The server does not answer, or with an error.
    """
    answer = request(
        f"{environment['PREFECT_API_URL']}{path}", login_of(environment), body, seconds, method
    )
    return answer.json() if answer.content else None


def login_of(environment: Mapping[str, str]) -> str:
    """Return how Prefect's own client names its user: a key, or "user:password"; "" for none."""
    return environment.get("PREFECT_API_KEY") or environment.get("PREFECT_API_AUTH_STRING", "")


def request(
    url: str, login: str, body: Any = None, seconds: float = SECONDS, method: str = ""
) -> Response:
    """Return the answer of a server.

    Args:
        url: Page of the server.
        login: "user:password" of HTTP Basic, a key without a colon, or "".
        body: Value to send as JSON; None: no body.
        seconds: Time to wait.
        method: HTTP method; by default GET, or POST with a body.

    Raises:
        httpx.HTTPError, httpx.InvalidURL: The server does not answer, or answers with an error.
    """
    import httpx

    user, basic, password = login.partition(":")
    return httpx.request(
        method or ("GET" if body is None else "POST"),
        url,
        json=body,
        timeout=seconds,
        auth=(user, password) if basic else None,
        headers={"Authorization": f"Bearer {login}"} if login and not basic else {},
    ).raise_for_status()
