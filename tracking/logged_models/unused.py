"""List the runs and logged models of an MLflow store, and remove logged models that nobody needs.

Only files below the home folder are removed; metrics, parameters and tags of all runs stay. With an MLflow server
nothing is removed: the files are the server's. Nor is anything in a place outside the home folder that a database
names, such as a bucket: other homes may use it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tracking.registry.registry import Registry, Version
from tracking.registry.versions import SOURCE
from tracking.runs.runs import Tracker
from tracking.tags import FIT_TAG, FLOW, PARENT, value_of

PAGE, MODEL_PAGE, SOME = 1000, 50, 100
"""Runs, logged models and experiments in one request."""
MILLION = 1_000_000
"""Nanoseconds in a millisecond, MLflow's unit of time."""
RUNNING, FINISHED, BROKEN = "RUNNING", "FINISHED", ("FAILED", "KILLED")
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
    all_runs = [_run_of(tracker, run) for some in _experiments(tracker) for run in _pages(
        tracker, partial(_search_runs, some))]
    return sorted(all_runs, key=lambda run: -run.started)


def _experiments(tracker: Tracker) -> list[list[str]]:
    """Return the ids of all experiments, in lists that are short enough for a request."""
    ids = [str(one.experiment_id) for one in _pages(
        tracker, lambda client, token: client.search_experiments(max_results=PAGE, page_token=token))]
    return [ids[first : first + SOME] for first in range(0, len(ids), SOME)]


def _run_of(tracker: Tracker, run: Any) -> Run:
    tags, info = run.data.tags, run.info
    return Run(
        str(info.run_id), info.start_time * MILLION, str(info.status),
        "" if PARENT in tags else value_of(tags, FLOW), value_of(tags, FIT_TAG),
        _folder_below(tracker, info.artifact_uri),
    )


def _folder_below(tracker: Tracker, address: str) -> Path | None:
    """Return the folder of an address if it is below the artifact folder of the home."""
    folder = tracker.folder_of(address)
    return folder if folder is not None and tracker.artifact_root in folder.parents else None


def models_of(tracker: Tracker, registered: Mapping[str, set[VersionKey]]) -> list[LoggedFiles]:
    """Return the logged models with files below the home folder.

    Args:
        tracker: Connection to the store.
        registered: Versions by the id of the logged model that they were made from.
    """
    entries = [model for some in _experiments(tracker) for model in _pages(tracker, partial(_search_models, some))]
    places = {str(model.model_id): (model, _folder_below(tracker, model.artifact_location)) for model in entries}
    return [
        LoggedFiles(
            name, folder.parent, str(model.source_run_id or ""), model.creation_timestamp * MILLION,
            frozenset(registered.get(name, ())),
        )
        for name, (model, folder) in sorted(places.items()) if folder is not None
    ]  # fmt: skip


def _search_runs(experiments: list[str], client: Any, token: str | None) -> Any:
    return client.search_runs(experiments, max_results=PAGE, page_token=token)


def _search_models(experiments: list[str], client: Any, token: str | None) -> Any:
    return client.search_logged_models(experiments, max_results=MODEL_PAGE, page_token=token)


def all_versions(tracker: Tracker) -> list[Version]:
    """Return all versions of all registered models; entries of decision logs are no versions."""
    names = [model.name for model in _pages(tracker, lambda client, token: client.search_registered_models(
        max_results=PAGE, page_token=token))]  # fmt: skip
    return [version for name in names for version in Registry(tracker, name).versions() if version.source != SOURCE]


def registered_models(tracker: Tracker, versions: list[Version]) -> dict[str, set[VersionKey]]:
    """Return versions by the id of the logged model that they were made from, by any address that MLflow has of it."""
    sources = [(version.name, version.version, f"{version.source} {version.place}") for version in versions]
    versions_of_model: dict[str, set[VersionKey]] = {}
    for name, number, source in sources:
        for model in MODEL_ID.findall(source):
            versions_of_model.setdefault(model, set()).add((name, number))
    return versions_of_model


def remove_model(tracker: Tracker, model: LoggedFiles, remove: Callable[[Path], object]) -> bool:
    """Delete a logged model and its versions, unless one of them has an alias now; the caller holds the home's lock.

    Another home may share the registry and have promoted a version since it was decided that it goes.

    Where this is killed, the entry of the model is still there, and the next call finishes it.

    Args:
        remove: Removes its folder.
    """
    with tracker.reaching() as client:
        if any(client.get_model_version(name, str(number)).aliases for name, number in model.versions):
            return False
        for name, number in sorted(model.versions):
            client.delete_model_version(name, str(number))
    if model.folder.is_dir():
        remove(model.folder)
    with tracker.reaching() as client:
        client.delete_logged_model(model.id)
    return True


def _pages(tracker: Tracker, page: Callable[[Any, str | None], Any]) -> Iterator[Any]:
    """Yield the entries of all pages of an answer."""
    token = None
    while True:
        entries = tracker.ask(partial(_page, page, token))
        yield from entries
        if not (token := entries.token):
            return


def _page(page: Callable[[Any, str | None], Any], token: str | None, client: Any) -> Any:
    return page(client, token)
