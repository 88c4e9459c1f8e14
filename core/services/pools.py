"""Create Prefect's work pools, limits, deployments and automations, as far as this machine can run them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from urllib.error import HTTPError

from core.environment import chosen_device, visible_gpus
from core.errors import ReviewLMError
from core.provenance import code_digest, git_commit
from core.services.deployed_code import COPY_VARIABLE, FOLDER, copies_of, deployments_on, keep_code, problem_of
from core.services.kept_deployments import kept_deployments
from core.services.prefect_api import ask

POOLS = ("cpu-pool", "gpu-pool")
LIMITS = ("gpu", "promotion", "retrain")
PROJECT = Path(__file__).resolve().parents[2]
CODE_VARIABLE, CODE_DIGITS = "REVIEWLM_CODE", 12
"""Names the deployed code to `prefect deploy` (`version` in prefect.yaml); digits of its commit and of its digest."""
SECONDS, EXISTS = 60.0, 409
"""Time to wait for an answer of Prefect's server; its answer about a limit that exists already."""


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

    What users have changed of the deployments stays (`kept_deployments.py`).

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
        found = {one["name"]: copies_of([one]) for one in deployments_on(environment)}
    except (OSError, ValueError, KeyError):
        return False
    copies = set[str]().union(*found.values())
    return all(found.get(name) for name in names) and not any(problem_of(home / FOLDER / copy) for copy in copies)


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
