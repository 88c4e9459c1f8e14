"""Create Prefect's work pools, limits, deployments and automations, as far as this machine can run them.

What is there stays as it is: a pool, a limit, a deployment may have been changed in Prefect's pages. Deployments are
deployed again only where that is wanted, and keep what was changed (`deployments.py`).

Prefect is asked over HTTP and never imported, which takes seconds.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reviewlm.core.environment import chosen_device, visible_gpu_names
from reviewlm.core.errors import ReviewLMError
from reviewlm.core.provenance import CHECKOUT
from reviewlm.core.services.deployments import (
    FILE,
    DeploymentPlan,
    Settings,
    entries_of,
    note_deployed,
    plan_of,
    read_deployed,
    settings_on_server,
)

if TYPE_CHECKING:
    from httpx import Response

POOLS = ("cpu-pool", "gpu-pool")
LIMITS = ("gpu", "promotion", "retrain")
PROJECT_VARIABLE = "REVIEWLM_PROJECT"
SECONDS = 60.0
"""Time to wait for an answer of Prefect's server."""
EXISTS = 409
"""Status code of Prefect's server for a limit that exists already."""

MOST = 200
"""Deployments, pools and automations that the server is asked for."""
log = logging.getLogger(__name__)


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
    if name == "gpu":
        return max(1, len(visible_gpu_names()))
    return 1


def usable_pools() -> tuple[str, ...]:
    """Return the pools that have a worker on this machine; a pool without one would stay "Not Ready" in Prefect."""
    return POOLS if chosen_device("auto") == "cuda" else POOLS[:1]


def deployments_of(pools: Collection[str]) -> list[str]:
    """Return the names of the deployments that run in these pools."""
    return [entry["name"] for entry in entries_of(pools)]


def deploy(
    environment: dict[str, str],
    pools: Collection[str],
    home: Path,
    again: bool = False,
    overwrite: bool = False,
) -> None:
    """Create missing pools, limits and deployments for these pools, and the automations.

    Args:
        environment: Names the server.
        pools: Pools that have a worker.
        home: Home folder, which has the addresses of alerts.
        again: Deploy everything that `prefect.yaml` has changed, also what is there.
        overwrite: Then also replace what somebody has changed in Prefect's pages.

    Raises:
        ReviewLMError: The server does not answer, or refuses.
    """
    for _, carry_out in deploy_steps(
        environment,
        pools,
        home,
        again,
        overwrite,
    ):
        carry_out()


def deploy_steps(
    environment: dict[str, str],
    pools: Collection[str],
    home: Path,
    again: bool = False,
    overwrite: bool = False,
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the steps of `deploy`, each with its name, for a command that says what takes the time."""
    present = _present_pools(environment)
    for pool in pools:
        if pool not in present:  # one that is there may have a limit or variables of the user
            yield f"pool {pool}", partial(_create_pool, environment, home, pool)

    yield "limits", partial(_create_limits, environment)

    before = read_deployed(home)
    plan = plan_of(
        entries_of(pools),
        settings_there(environment),
        before,
        again,
        overwrite,
    )
    if plan.entries:
        first, *others = (entry["name"] for entry in plan.entries)
        more = f" and {len(others)} more" if others else ""
        yield f"deployment {first}{more}", partial(_deploy, environment, home, plan)

    for sentence in plan.sentences():
        log.info("%s", sentence)

    yield "alerts", partial(automate, environment, home)


def _present_pools(environment: dict[str, str]) -> set[str]:
    """Return the names of the pools that the server has."""
    return {one["name"] for one in _ask(environment, "/work_pools/filter", {"limit": MOST})}


def _create_pool(
    environment: dict[str, str],
    home: Path,
    pool: str,
) -> None:
    """Create a pool, unless a worker that starts meanwhile does: each creates its own where it has none."""
    try:
        _prefect(
            environment,
            home,
            "work-pool",
            "create",
            pool,
            "--type",
            "process",
        )
    except ReviewLMError:
        if pool not in _present_pools(environment):
            raise


def settings_there(environment: dict[str, str]) -> dict[str, Settings]:
    """Return the settings of the deployments that the server has, by name."""
    known = _ask(environment, "/deployments/filter", {"limit": MOST})
    automations = _ask(environment, "/automations/filter", {"limit": MOST})
    return {one["name"]: settings_on_server(one, automations) for one in known}


def _deploy(
    environment: dict[str, str],
    home: Path,
    plan: DeploymentPlan,
) -> None:
    """Let Prefect deploy the entries of a plan, from a file of their own."""
    import yaml

    whole = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    whole["deployments"] = plan.entries
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / FILE.name
        file.write_text(yaml.safe_dump(whole, sort_keys=False), encoding="utf-8")
        words = ("--no-prompt", "deploy", "--all", "--prefect-file", str(file))
        _prefect(environment, home, *words)

    note_deployed(home, plan.wanted)


def _create_limits(environment: dict[str, str]) -> None:
    for name in LIMITS:
        _ask(environment, "/v2/concurrency_limits/", {"name": name, "limit": size_of_limit(name)})


def _ask(
    environment: dict[str, str],
    path: str,
    body: dict[str, Any],
) -> Any:
    """Return the answer of Prefect's server; None if what was to be created exists, which stays as it is."""
    import httpx

    try:
        return ask(
            environment,
            "POST",
            path,
            body,
            SECONDS,
        )
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


def _run(
    environment: dict[str, str],
    home: Path,
    command: list[str],
) -> None:
    folder = working_folder(home)
    done = subprocess.run(
        command,
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        shown = " ".join([Path(command[0]).name, *command[1:]])
        raise ReviewLMError(
            f"`{shown}` failed", cause="\n".join((done.stdout + done.stderr).splitlines()[-8:])
        )


def ask(
    environment: Mapping[str, str],
    method: str,
    path: str,
    body: Any,
    seconds: float,
) -> Any:
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
        f"{environment['PREFECT_API_URL']}{path}",
        login_of(environment),
        body,
        seconds,
        method,
    )
    if answer.content:
        return answer.json()
    return None


def login_of(environment: Mapping[str, str]) -> str:
    """Return how Prefect's own client names its user: a key, or "user:password"; "" for none."""
    return environment.get("PREFECT_API_KEY") or environment.get("PREFECT_API_AUTH_STRING", "")


def request(
    url: str,
    login: str,
    body: Any = None,
    seconds: float = SECONDS,
    method: str = "",
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
    if not method:
        method = "GET" if body is None else "POST"

    headers = {}
    if login and not basic:
        headers["Authorization"] = f"Bearer {login}"

    answer = httpx.request(
        method,
        url,
        json=body,
        timeout=seconds,
        auth=(user, password) if basic else None,
        headers=headers,
    )
    return answer.raise_for_status()
