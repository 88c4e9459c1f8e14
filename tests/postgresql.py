"""A PostgreSQL of its own for the tests that need one."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


class Cluster:
    """A PostgreSQL cluster in a folder, run by a user who is not root."""

    def __init__(
        self,
        binaries: Path,
        folder: Path,
        user: str,
    ) -> None:
        self._binaries, self._folder, self._user = binaries, folder, user
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.uri = self.address("postgres")
        self._run(
            "initdb",
            "-D",
            str(folder / "data"),
            "-U",
            "reviewlm",
            "-A",
            "trust",
            "--no-sync",
        )

    def address(self, database: str, driver: str = "postgresql") -> str:
        """Return the address of a database, for SQLAlchemy."""
        return f"{driver}://reviewlm@127.0.0.1:{self._port}/{database}"

    def ask(self, database: str, query: str) -> list[Any]:
        """Return the rows that a query finds; [] for a statement without rows."""
        import psycopg

        with psycopg.connect(self.address(database), autocommit=True) as connection:
            answer = connection.execute(query)
            return answer.fetchall() if answer.description else []

    def start(self) -> None:
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c fsync=off -k {self._folder}"
        log = str(self._folder / "log")
        self._run(
            "pg_ctl",
            "-D",
            str(self._folder / "data"),
            "-w",
            "-t",
            "120",
            "-l",
            log,
            "-o",
            options,
            "start",
        )

    def stop(self) -> None:
        """Stop it as a crash would: open connections are cut off."""
        self._run(
            "pg_ctl",
            "-D",
            str(self._folder / "data"),
            "-w",
            "-m",
            "immediate",
            "stop",
        )

    def _run(self, program: str, *arguments: str) -> None:
        become = ["runuser", "-u", self._user, "--"] if self._user != getpass.getuser() else []
        command = [*become, str(self._binaries / program), *arguments]
        subprocess.run(
            command,
            cwd="/",
            check=True,
            stdout=subprocess.DEVNULL,
        )


@contextmanager
def cluster_of_services() -> Iterator[Cluster]:
    """Make a cluster with an empty database for each of Prefect and MLflow; see `running_cluster`."""
    with running_cluster() as cluster:
        for name in ("prefect", "mlflow"):
            cluster.ask("postgres", f"CREATE DATABASE {name}")
        yield cluster


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Make a cluster in a temporary folder and throw it away; skip where PostgreSQL is not installed."""
    installed = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")))
    found = shutil.which("initdb") or next(iter(installed), None)
    if found is None:
        pytest.skip("PostgreSQL is not installed (no initdb in PATH or in /usr/lib/postgresql)")
    user = getpass.getuser()
    folder = Path(tempfile.mkdtemp(prefix="reviewlm-postgres-"))
    try:
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            try:
                user, owner = "postgres", pwd.getpwnam("postgres")
            except KeyError:
                pytest.skip("PostgreSQL does not run as root, and there is no user 'postgres'")
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        cluster = Cluster(Path(found).parent, folder, user)
        cluster.start()
        yield cluster
        cluster.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
