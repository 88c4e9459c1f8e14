"""The inner door: a registered version's data opened with the installed `models`, so that no registry entry runs code.

(The outer door, for strangers, is `tracking/pyfunc.py`.) A person waits for this at the command line, and importing
MLflow takes longer than everything else. With the default local database four columns of it are therefore read
directly; whatever is unusual there goes the long way through MLflow.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from reviewlm.config import RunConfig
from reviewlm.environment import chosen_device
from reviewlm.errors import BundleError, InputError, ReviewLMError
from tracking.client import ABSENT, database_file, error_code
from tracking.registry import Registry, bundle_in
from tracking.runs import Tracker
from tracking.versions import MODEL_URI, Reference, Version

if TYPE_CHECKING:
    from models.bundle import Bundle

log = logging.getLogger(__name__)
FIND = """
    SELECT v.version, v.run_id, v.creation_time, v.description, COALESCE(v.storage_location, v.source)
    FROM model_versions v LEFT JOIN registered_model_aliases a
      ON a.workspace = v.workspace AND a.name = v.name AND a.version = v.version AND a.alias = :alias
    WHERE v.name = :name AND (a.alias IS NOT NULL OR v.version = :version)
"""
TAGS = "SELECT key, value FROM model_version_tags WHERE name = ? AND version = ?"
ALIASES = "SELECT alias FROM registered_model_aliases WHERE name = ? AND version = ? ORDER BY alias"


@dataclass(frozen=True)
class Found:
    """A version and where its bundle lies."""

    version: Version
    folder: Path


def open_version(config: RunConfig, reference: str = "champion") -> tuple[Bundle, Version]:
    """Open a version of the configured model: an alias, a number, or a whole `models:/…` address.

    Raises:
        ConfigError, BundleError, InputError, TrackingUnavailable: As `open_champion`.
    """
    tracker, address = locate(config, reference)
    return open_champion(tracker, address, chosen_device(config.execution.device))


def locate(config: RunConfig, reference: str) -> tuple[Tracker, str]:
    """Return where the registry is, and the whole `models:/…` address of an alias, a number or an address."""
    home = config.home
    uri = config.execution.tracking_uri or f"sqlite:///{home / 'mlflow.db'}"
    tracker = Tracker(uri, config.execution.experiment, home / "mlartifacts")
    if not reference.startswith("models:/"):
        reference = f"models:/{config.promotion.model_name}{'/' if reference.isdigit() else '@'}{reference}"
    return tracker, reference


def open_champion(
    tracker: Tracker, reference: str = "models:/reviewlm@champion", device: str = "cpu"
) -> tuple[Bundle, Version]:
    """Open a registered version's bundle.

    Args:
        tracker: Of the store that holds the registry.
        reference: `models:/NAME@ALIAS` or `models:/NAME/VERSION`.
        device: Where the model shall live.

    Raises:
        ConfigError: The reference is of neither form.
        BundleError: Nothing is registered under it yet, its files are gone or damaged, or it answers differently
            from when it was saved.
        InputError: The device is not there.
        TrackingUnavailable: MLflow does not answer.
    """
    found = find_version(tracker, Reference.parse(reference))
    if found is None:
        raise BundleError(
            f"Nothing is registered as {reference} yet", where=tracker.uri,
            remedy="no champion: run `make demo` or `reviewlm run` first; `reviewlm history` lists the versions",
        )
    from models.base import ModelError
    from models.bundle import load_bundle

    try:
        return load_bundle(found.folder, device=device), found.version
    except ModelError as error:
        if error.kind == "input":  # nothing is wrong with the version
            raise InputError(str(error), where=reference) from error
        raise BundleError(
            f"{reference} cannot be opened", where=found.folder, cause=str(error),
            remedy="choose another version (`reviewlm history`), or `reviewlm rollback`",
        ) from error


def find_version(tracker: Tracker, reference: Reference) -> Found | None:
    """Return a version and the folder of its bundle, None where there is no such version."""
    file = database_file(tracker.uri)
    if file and not file.exists():
        return None
    return (_read_directly(tracker, file, reference) if file else None) or _ask_mlflow(tracker, reference)


def _read_directly(tracker: Tracker, file: Path, reference: Reference) -> Found | None:
    """Return what MLflow's database says, None where it says anything but exactly one version with local files."""
    key = {"name": reference.name, "alias": reference.alias or None, "version": reference.version}
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
            [(number, run_id, created, description, address)] = connection.execute(FIND, key).fetchall()
            tags = dict(connection.execute(TAGS, (reference.name, number)).fetchall())
            aliases = tuple(alias for (alias,) in connection.execute(ALIASES, (reference.name, number)).fetchall())
        folder = bundle_in(tracker, address)
    except (sqlite3.Error, ValueError, BundleError) as error:
        log.debug("asking MLflow for %s: %s", reference, error)
        return None
    made = datetime.fromtimestamp(created / 1000, UTC)
    version = Version(number, run_id or "", tags, tags.get(MODEL_URI) or address, aliases, made, description or "")
    return Found(version, folder) if folder else None


def _ask_mlflow(tracker: Tracker, reference: Reference) -> Found | None:
    registry = Registry(tracker, reference.name)
    try:
        version = registry.alias(reference.alias) if reference.alias else registry.version(reference.version or 0)
    except ReviewLMError as error:
        if error_code(error) in ABSENT:
            return None
        raise
    return Found(version, registry.bundle_folder(version)) if version else None
