"""A home folder in which the tiny preset ran once, and ways to run it again and to look at what it left."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reviewlm.core.environment import other_home

TINY = str(Path(__file__).with_name("tiny.toml"))
ROOT = Path(__file__).resolve().parents[2]
FRAMEWORKS = ("REVIEWLM_", "PREFECT_", "MLFLOW_")


@dataclass
class Ran:
    """A home folder in which the pipeline ran once, and what the flow returned."""

    home: Path
    result: dict[str, Any]

    def again(self, *overrides: str, input: list[str] | None = None) -> dict[str, Any]:
        return run_in(self.home, *overrides, input=input)


def run_in(home: Path, *overrides: str, input: list[str] | None = None) -> dict[str, Any]:
    from reviewlm.flows.retrain import retrain

    with other_home(home):
        return retrain(TINY, input, list(overrides))


def user_environment(home: Path) -> dict[str, str]:
    """Return the environment of a user of this home, without what the tests set."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(FRAMEWORKS)}
    return {
        **clean,
        "REVIEWLM_HOME": str(home),
        "PYTHONPATH": str(ROOT),
    }


def mlflow_rows(home: Path, query: str) -> list[Any]:
    """Return what a query finds in the home's MLflow tables."""
    with closing(sqlite3.connect(home / "mlflow.db", timeout=60)) as database:
        return database.execute(query).fetchall()


def mlflow_client(ran: Ran) -> Any:
    from reviewlm.tracking.client import open_client

    return open_client(f"sqlite:///{ran.home / 'mlflow.db'}")


def artifacts_of(client: Any, run_id: str) -> set[str]:
    """Return the paths of all artifacts of a run. The run is looked up once: with each folder it takes seconds."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(
        client.get_run(run_id).info.artifact_uri, client.tracking_uri
    )

    def below(path: str | None) -> set[str]:
        found = set()
        for entry in repository.list_artifacts(path):
            found |= below(entry.path) if entry.is_dir else {entry.path}
        return found

    return below(None)


def answer(home: Path, *words: str, code: Path = ROOT, **variables: str) -> dict[str, Any]:
    """Run `reviewlm` as a user of this home does, with the project in *code*; return its last line."""
    environment = user_environment(home) | {"PYTHONPATH": str(code), **variables}
    command = [sys.executable, "-m", "reviewlm.cli", *words, "--json"]
    done = subprocess.run(
        command,
        env=environment,
        cwd=code,
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))
