"""Locate the files of runs and models by addresses that do not name the folder of the home.

A home's database keeps `mlflow-artifacts:/…`, as MLflow writes where a server has the files: "below the artifact folder
of this store". So a home may be moved, copied and restored anywhere. MLflow's client resolves such an address by HTTP;
where it works on the database itself, `register` lets it use the folder beside the database. Programs that know
nothing of this project use the MLflow server of the home.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from reviewlm.core.errors import without_password
from reviewlm.core.sqlite_files import DATABASE, database_file, read_only

ARTIFACTS = "mlartifacts"
"""Artifact folder beside a SQLite database."""
SCHEME = "mlflow-artifacts"
RELATIVE = f"{SCHEME}:/"
RUNS = f"SELECT run_uuid, artifact_uri FROM runs WHERE artifact_uri NOT LIKE '{RELATIVE}%'"


def new_address(uri: str, root: Path) -> str:
    """Return where experiments that are created in a store without a server keep their files.

    Args:
        uri: Address of the store.
        root: Artifact folder of the home. If it is not the folder of the store, its path is named.
    """
    file = database_file(uri)
    if file is not None and root == file.parent / ARTIFACTS:
        return RELATIVE
    return root.as_uri()


def folder_of(address: str, uri: str) -> Path | None:
    """Return the folder of an address on this machine; None if only a server or a bucket has it.

    Args:
        address: Of a run's artifacts, a logged model or a version.
        uri: Address of the store that named it.
    """
    parts = urlparse(address)
    file = database_file(uri)
    if parts.scheme == SCHEME and file is not None:
        return (file.parent / ARTIFACTS).joinpath(*Path(unquote(parts.path)).parts[1:])
    if parts.scheme not in ("", "file"):
        return None
    if parts.scheme:
        return Path(unquote(parts.path))
    return Path(address)


def register() -> None:
    """Let MLflow's clients of a SQLite database find the files beside it."""
    from mlflow.store.artifact.artifact_repository_registry import _artifact_repository_registry

    _artifact_repository_registry.register(SCHEME, _repository)


def _repository(
    address: str,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
) -> Any:
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository
    from mlflow.tracking import get_tracking_uri

    folder = folder_of(address, tracking_uri or get_tracking_uri())
    if folder is None:
        return MlflowArtifactsRepository(address, tracking_uri, registry_uri)
    return LocalArtifactRepository(folder.as_uri(), tracking_uri, registry_uri)


def place_of(run_id: str, address: str) -> str:
    """Return the place that a run's artifacts share with those of other runs, without a password."""
    return without_password(address.removesuffix(f"/{run_id}/artifacts"))


def places_elsewhere(home: Path) -> Counter[str]:
    """Return the places outside a home where runs of its own MLflow database keep artifacts, with their number.

    MLflow is not asked: its import takes seconds, and it opens no database that needs an upgrade.
    """
    with (
        suppress(OSError, sqlite3.Error),
        read_only(home / DATABASE) as database,
    ):  # none, or not MLflow's
        return Counter(place_of(run_id, address) for run_id, address in database.execute(RUNS))
    return Counter()
