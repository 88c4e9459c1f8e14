"""Create Prefect's work pools, limits, deployments and automations, as far as this machine can run them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from core.environment import chosen_device, visible_gpus
from core.errors import ReviewLMError
from core.services.kept_deployments import kept_deployments

POOLS = ("cpu-pool", "gpu-pool")
LIMITS = ("gpu", "promotion")
PROJECT = Path(__file__).resolve().parents[2]
HEARTBEAT_SECONDS = 30
"""Seconds between two signs of life of a flow run; Prefect's minimum."""


def size_of_limit(name: str) -> int:
    """Return the size that a limit is created with: as many fits as GPUs are visible, one promotion."""
    return max(1, visible_gpus()) if name == "gpu" else 1


def usable_pools() -> tuple[str, ...]:
    """Return the pools that have a worker on this machine; a pool without one would stay "Not Ready" in Prefect."""
    return POOLS if chosen_device("auto") == "cuda" else POOLS[:1]


def deployments_of(pools: Collection[str], file: Path = PROJECT / "prefect.yaml") -> list[str]:
    """Return the names of the deployments that run in these pools."""
    import yaml

    entries = yaml.safe_load(file.read_text(encoding="utf-8"))["deployments"]
    return [entry["name"] for entry in entries if entry["work_pool"]["name"] in pools]


def deploy(environment: dict[str, str], pools: Collection[str], home: Path) -> None:
    """Create or overwrite the pools, create missing limits, then deployments for these pools, and the automations.

    What users have changed of the deployments stays (`kept_deployments.py`).

    Args:
        environment: Names the server.
        pools: Pools that have a worker.
        home: Home folder, which has the addresses of alerts.
    """
    for pool in pools:
        _prefect(environment, "work-pool", "create", pool, "--type", "process", "--overwrite")
    for name in LIMITS:
        if _prefect(environment, "gcl", "inspect", name, required=False):
            _prefect(environment, "gcl", "create", name, "--limit", str(size_of_limit(name)))
    names = [argument for name in deployments_of(pools) for argument in ("--name", name)]
    with kept_deployments(environment, home):
        _prefect(environment, "--no-prompt", "deploy", *names)
    automate(environment, home)


def automate(environment: dict[str, str], home: Path) -> None:
    """Create or update the automations: alerts, and what happens to lost runs (`flows/server/automations.py`)."""
    _run(environment, [sys.executable, "-m", "flows.server.automations", str(home)])


def _prefect(environment: dict[str, str], *arguments: str, required: bool = True) -> int:
    return _run(environment, [str(Path(sys.executable).parent / "prefect"), *arguments], required)


def _run(environment: dict[str, str], command: list[str], required: bool = True) -> int:
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True)
    if done.returncode and required:
        shown = " ".join([Path(command[0]).name, *command[1:]])
        raise ReviewLMError(f"`{shown}` failed", cause="\n".join((done.stdout + done.stderr).splitlines()[-8:]))
    return done.returncode
