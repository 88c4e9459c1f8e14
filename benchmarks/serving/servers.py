"""Start `reviewlm serve` and `mlflow models serve` as a user does, for benchmarks over HTTP."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.harness import ROOT
from benchmarks.serving.made_home import NAME
from reviewlm.core.processes.children import end_child, start_child
from reviewlm.core.sqlite_files import home_database

CORES = 2
START_SECONDS = 240.0


class Served:
    """A started server.

    Args:
        process: Its first process.
        port: Where it listens.
        above: Priority over other programs of the machine, 0 to 19; all processes of both servers get the same.
    """

    def __init__(
        self,
        process: subprocess.Popen[Any],
        port: int,
        above: int,
    ) -> None:
        self.root = psutil.Process(process.pid)
        self.port = port
        for one in (*self.processes(), psutil.Process()) if above else ():
            with suppress(OSError):
                Path(f"/proc/{one.pid}/autogroup").write_text(str(-above))

    def processes(self) -> list[psutil.Process]:
        """Return all of its processes."""
        return [self.root, *self.root.children(recursive=True)]

    def cpu(self) -> float:
        """Return the CPU seconds that it has used."""
        return sum(sum(one.cpu_times()[:2]) for one in self.processes())

    def mib(self) -> int:
        """Return its resident memory."""
        return sum(one.memory_info().rss for one in self.processes()) >> 20


@contextmanager
def started(
    command: Sequence[str],
    port: int,
    path: str,
    environment: dict[str, str],
    above: int,
) -> Iterator[Served]:
    """Start a server and wait until all of its workers have had time to answer.

    It ends with this process, whatever ends that.
    """
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = start_child(
        command,
        group=True,
        env={**os.environ, **environment},
        **quiet,
    )
    try:
        _wait(process, f"http://127.0.0.1:{port}{path}")
        served = Served(process, port, above)
        time.sleep(1)
        yield served
    finally:
        every = (
            [*psutil.Process(process.pid).children(recursive=True)]
            if process.poll() is None
            else []
        )
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(15)
        for one in every:
            with suppress(psutil.Error):
                one.kill()
        end_child(process)


def _wait(process: subprocess.Popen[Any], address: str) -> None:
    over = time.monotonic() + START_SECONDS
    quiet = 0
    while quiet < 3:  # workers that start use the processor; wait until they have ended to do so
        if process.poll() is not None or time.monotonic() > over:
            raise RuntimeError(f"{address} does not answer")
        before = _cpu(process)
        time.sleep(1)
        with suppress(OSError):
            urllib.request.urlopen(address, timeout=5).read()
            quiet = quiet + 1 if _cpu(process) - before < 0.1 else 0


def _cpu(process: subprocess.Popen[Any]) -> float:
    with suppress(psutil.Error):
        every = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        return sum(sum(one.cpu_times()[:2]) for one in every)
    return 0.0


def ours(
    home: Path,
    above: int,
    *more: str,
    model: str = NAME,
    cores: int = CORES,
) -> Any:
    """Start `reviewlm serve`: one process with so many threads."""
    port = _free_port()
    settings = [f"serving.threads={cores}", *more]
    sets = [word for setting in settings for word in ("--set", setting)]
    command = ["-m", "reviewlm.cli", "serve", "--model", model, "--port", str(port), *sets]
    return started(
        command,
        port,
        "/readyz",
        _environment(home),
        above,
    )


def peer(
    home: Path,
    above: int,
    model: str = NAME,
) -> Any:
    """Start `mlflow models serve`."""
    port = _free_port()
    from reviewlm.tracking.logged_models.bundles import find_version
    from reviewlm.tracking.registry.versions import Reference
    from reviewlm.tracking.runs.runs import Tracker

    tracker = Tracker(home_database(home), "reviewlm", home / "mlartifacts")
    champion = find_version(tracker, Reference(model, "champion"))
    assert champion is not None
    folder = champion.folder.parents[1]
    command = ["-m", "mlflow", "models", "serve", "-m", str(folder), "--env-manager", "local"]
    command += ["--port", str(port), "--workers", str(CORES)]
    return started(
        command,
        port,
        "/ping",
        _environment(home),
        above,
    )


def _environment(home: Path) -> dict[str, str]:
    binaries = Path(sys.executable).parent
    return {
        "REVIEWLM_HOME": str(home),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "GOMP_SPINCOUNT": "500",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Without these, MLflow's server gives up requests, and uvicorn kills workers, that are busy for long.
        "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT": "600",
        "UVICORN_TIMEOUT_WORKER_HEALTHCHECK": "600",
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
