"""List runs, versions and logged models of an MLflow store, and remove one; `tasks/upkeep/collect.py` decides which.

Only files below the home folder are removed; metrics, parameters and tags of all runs stay. With an MLflow server
nothing is removed: the files are the server's. Files outside the home folder, such as those in a bucket, stay too,
although the database names them: other homes may use them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reviewlm.tracking.artifacts import folder_of
from reviewlm.tracking.registry.versions import SOURCE, Version, contents_of
from reviewlm.tracking.runs.runs import Tracker
from reviewlm.tracking.tags import FIT_TAG, FLOW, PARENT, value_of

PAGE = 1000
MODEL_PAGE = 50
SOME = 100
"""Runs, logged models and experiments in one request."""
MILLION = 1_000_000
"""Nanoseconds in a millisecond, MLflow's unit of time."""
RUNNING = "RUNNING"
FINISHED = "FINISHED"
BROKEN = ("FAILED", "KILLED")
MODEL_ID = re.compile(r"m-[0-9a-f]{32}")
VersionKey = tuple[str, int]
"""Name of a registered model and number of a version."""


@dataclass(frozen=True)
class Run:
    """A run of MLflow.

    Args:
        id: Its id.
        started: Start in nanoseconds since 1970.
        status: RUNNING, FINISHED, FAILED or KILLED.
        flow: Name of the flow of a parent run, "" for any other.
        fit: Digest of the fit that it describes, or "".
        files: Folder of its artifacts, if it is below the home folder.
    """

    id: str
    started: int
    status: str
    flow: str = ""
    fit: str = ""
    files: Path | None = None


@dataclass(frozen=True)
class LoggedFiles:
    """A logged model whose files are, or were, below the home folder.

    Args:
        id: Its id.
        folder: Its folder.
        run_id: The run that logged it.
        created: When, in nanoseconds since 1970.
        versions: Versions that were made from it.
    """

    id: str
    folder: Path
    run_id: str
    created: int
    versions: frozenset[VersionKey] = frozenset()


def runs_of(tracker: Tracker) -> list[Run]:
    """Return all runs of all experiments, the newest first."""
    runs = []
    for some in _experiments(tracker):
        for run in tracker.all("search_runs", some, max_results=PAGE):
            runs.append(_run_of(tracker, run))

    return sorted(runs, key=lambda run: -run.started)


def _run_of(tracker: Tracker, run: Any) -> Run:
    """Return a run from MLflow's object."""
    tags = run.data.tags
    flow = ""
    if PARENT not in tags:
        flow = value_of(tags, FLOW)

    info = run.info
    folder = _folder_below(tracker, info.artifact_uri)
    started = info.start_time * MILLION
    return Run(
        str(info.run_id),
        started,
        str(info.status),
        flow,
        value_of(tags, FIT_TAG),
        folder,
    )


def _experiments(tracker: Tracker) -> list[list[str]]:
    """Return the ids of all experiments, in lists that are short enough for a request."""
    ids = [str(one.experiment_id) for one in tracker.all("search_experiments", max_results=PAGE)]
    return [ids[first : first + SOME] for first in range(0, len(ids), SOME)]


def _folder_below(tracker: Tracker, address: str) -> Path | None:
    """Return the folder of an address if it is below the artifact folder of the home."""
    folder = folder_of(address, tracker.uri)
    if folder is not None and tracker.artifact_root in folder.parents:
        return folder
    return None


def models_of(tracker: Tracker, versions: Iterable[Version]) -> list[LoggedFiles]:
    """Return the logged models with files below the home folder; *versions* are those of all registered models."""
    versions_of: dict[str, set[VersionKey]] = {}
    for version in versions:
        # The id of its logged model stands in the addresses that MLflow has of its files.
        for model_id in MODEL_ID.findall(f"{version.source} {version.place}"):
            versions_of.setdefault(model_id, set()).add((version.name, version.version))

    models = []
    for some in _experiments(tracker):
        for model in tracker.all("search_logged_models", some, max_results=MODEL_PAGE):
            folder = _folder_below(tracker, model.artifact_location)
            if folder is not None:
                model_id = str(model.model_id)
                run = str(model.source_run_id or "")
                created = model.creation_timestamp * MILLION
                models.append(
                    LoggedFiles(
                        model_id,
                        folder.parent,
                        run,
                        created,
                        frozenset(versions_of.get(model_id, ())),
                    )
                )

    return sorted(models, key=lambda model: model.id)


def all_versions(tracker: Tracker) -> list[Version]:
    """Return all versions of all registered models; entries of decision logs are no versions."""
    names = [model.name for model in tracker.all("search_registered_models", max_results=PAGE)]
    return [
        version
        for name in names
        for version in contents_of(tracker, name)[0][::-1]
        if version.source != SOURCE
    ]


def remove_model(
    tracker: Tracker,
    model: LoggedFiles,
    remove: Callable[[Path], object],
) -> bool:
    """Delete a logged model and its versions, unless one of them has an alias now; the caller holds the home's lock.

    Another home may share the registry and have promoted a version since it was decided that it goes.

    Where this is killed, the entry of the model is still there, and the next call finishes it.

    Args:
        remove: Removes its folder.
    """
    with tracker.reaching() as client:
        if any(
            client.get_model_version(name, str(number)).aliases for name, number in model.versions
        ):
            return False
        for name, number in sorted(model.versions):
            client.delete_model_version(name, str(number))

    if model.folder.is_dir():
        remove(model.folder)

    with tracker.reaching() as client:
        client.delete_logged_model(model.id)

    return True
