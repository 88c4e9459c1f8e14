"""MLflow's own servers as processes that tests start, kill and start again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from reviewlm.tracking.logged_models.bundles import find_version
from reviewlm.tracking.registry.versions import CHAMPION, Reference
from reviewlm.tracking.runs.runs import Tracker


class Served:
    """`mlflow COMMAND(port)` in a process group of its own; it can be killed and started again on its port."""

    def __init__(
        self,
        command: Callable[[int], list[str]],
        folder: Path,
        ping: str,
        binaries: Path = Path(sys.executable).parent,
        program: str = "mlflow",
        **environment: str,
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        path = f"{binaries}{os.pathsep}{os.environ['PATH']}"  # MLflow starts "uvicorn" by its name
        self._command, self._folder, self._ping = (
            [str(binaries / program), *command(self.port)],
            folder,
            ping,
        )
        self._environment = {
            **os.environ,
            "PATH": path,
            "PYTHONPATH": "",
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        _wait_for(f"{self.address}{self._ping}", self._process, self._folder / "log")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def kill(self) -> None:
        """Kill the whole group at once."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(20)

    def stop(self) -> None:
        """End the whole group."""
        if self._process is not None:
            _stop(self._process)


def _wait_for(
    address: str,
    process: subprocess.Popen[bytes],
    log: Path,
    seconds: float = 240,
) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"no answer from {address}:\n{log.read_text()[-3000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(20)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def store_server(folder: Path, home: Path, *artifacts: str) -> Served:
    """Return a server of the database in *home* that keeps artifacts in `kept` below *folder*, or as options say."""

    def command(port: int) -> list[str]:
        return [
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--workers",
            "1",
            "--backend-store-uri",
            f"sqlite:///{home / 'mlflow.db'}",
            *(artifacts or ("--artifacts-destination", str(folder / "kept"))),
        ]

    return Served(command, folder, "/health", MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")


def model_folder(
    tracker: Tracker,
    name: str = "reviewlm",
    version: int | None = None,
) -> str:
    """Return the folder of a registered model in MLflow's form, the champion's if no version is named."""
    found = find_version(tracker, Reference(name, "" if version else CHAMPION, version))
    assert found is not None
    return str(found.folder.parents[1])


def model_server(
    tracker: Tracker,
    folder: Path,
    name: str = "reviewlm",
    **options: Any,
) -> Served:
    """Return `mlflow models serve` of a champion."""

    def command(port: int) -> list[str]:
        where = ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
        return ["models", "serve", "-m", model_folder(tracker, name), *where]

    return Served(command, folder, "/ping", **options)


def answers_of(address: str, **body: Any) -> list[Any]:
    """Return what a served model answers to a request."""
    answer = httpx.post(f"{address}/invocations", json=body, timeout=60)
    return list(answer.raise_for_status().json()["predictions"])
