"""List the runs and logged models of an MLflow store, and remove the files of those that nobody needs.

Only files below the home folder are removed, and never entries: metrics, parameters and tags of all runs stay. A
logged model is deleted by MLflow first (`delete_logged_model`, which only marks it) and loses its files then. That of
an old version is not deleted: it keeps its description, vocabulary and lineage record, with which the model can be
made again, and a note in place of the rest. With an MLflow server nothing is removed: the files are the server's. Nor
is anything in a place outside the home folder that a database names, such as a bucket: other homes may use it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from core.errors import ReviewLMError
from models.bundles.sealed_folder import WHY_MISSING
from models.tokens.vocabulary import FILE
from tracking.artifacts import place_of
from tracking.client import ABSENT, error_code
from tracking.logged_models.export import BUNDLE_PATH, SPEC
from tracking.registry.registry import Registry, Version
from tracking.registry.versions import SOURCE, entries_of
from tracking.runs.runs import Tracker
from tracking.tags import FIT_TAG, FLOW, MODEL_VERSIONS, PARENT, value_of

PAGE, MODEL_PAGE, SOME = 1000, 50, 100
"""Runs, logged models and experiments in one request."""
MILLION = 1_000_000
"""Nanoseconds in a millisecond, MLflow's unit of time."""
RUNNING, FINISHED, BROKEN = "RUNNING", "FINISHED", ("FAILED", "KILLED")
MARK = ".removed-from"
"""File in the folder of a logged model that is being removed: the address of the store that had it."""
MODEL_ID = re.compile(r"m-[0-9a-f]{32}")
STAYS = (SPEC, FILE, WHY_MISSING)
"""Files of a bundle that stay when the model itself goes: `reviewlm version reproduce` needs them."""
NOTE = (
    "removed on {day} by `reviewlm home gc` to free space (upkeep.model_files), because the gate refused this version "
    "and it was never champion; its record is kept: from the same raw files, `reviewlm version reproduce "
    "{version} --home FOLDER` makes the same model again, and a run with the same configuration "
    "registers it as a new version\n"
)
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
        elsewhere: Where its artifacts and those of its logged models are, if that is not below the home folder.
    """

    id: str
    started: int
    status: str
    flow: str = ""
    fit: str = ""
    files: Path | None = None
    elsewhere: str = ""


@dataclass(frozen=True)
class LoggedFiles:
    """The files of a logged model below the home folder.

    Args:
        id: Its id.
        folder: Its folder.
        run_id: The run that logged it.
        created: When, in nanoseconds since 1970.
        registered: Whether a version was made from it.
        versions: Those that still exist.
        deleted: Whether MLflow has marked it, so that only its files are left.
    """

    id: str
    folder: Path
    run_id: str = ""
    created: int = 0
    registered: bool = False
    versions: frozenset[VersionKey] = frozenset()
    deleted: bool = False

    @property
    def bundle(self) -> Path:
        """Folder of its bundle."""
        return self.folder / "artifacts" / BUNDLE_PATH

    @property
    def content(self) -> list[Path]:
        """The files of its bundle that hold the model itself; none if they were removed."""
        files = (path for path in self.bundle.rglob("*") if path.is_file())
        return sorted(path for path in files if path.relative_to(self.bundle).as_posix() not in STAYS)


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
    files = _folder_below(tracker, info.artifact_uri)
    elsewhere = "" if files else place_of(str(info.run_id), info.artifact_uri)
    return Run(
        str(info.run_id), info.start_time * MILLION, str(info.status),
        "" if PARENT in tags else value_of(tags, FLOW), value_of(tags, FIT_TAG), files, elsewhere,
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
    entries = {str(model.model_id): model for some in _experiments(tracker) for model in _pages(
        tracker, partial(_search_models, some))}
    files = []
    for folder in sorted((tracker.artifact_root / "models").glob("m-*")):
        model = entries.get(folder.name)
        if model is None:
            if _was_removed(tracker, folder):
                files.append(LoggedFiles(folder.name, folder, deleted=True))
        elif _folder_below(tracker, model.artifact_location) is not None:
            made = frozenset(registered.get(folder.name, ()))
            used = bool(made) or MODEL_VERSIONS in model.tags
            created = model.creation_timestamp * MILLION
            files.append(LoggedFiles(folder.name, folder, str(model.source_run_id or ""), created, used, made))
    return files


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
    sources = [(version.name, version.version, version.source) for version in versions]
    for name in {version.name for version in versions}:
        for entry in entries_of(tracker, name):
            sources.append((name, int(entry.version), f"{entry.source} {getattr(entry, 'model_id', '')}"))
    versions_of_model: dict[str, set[VersionKey]] = {}
    for name, number, source in sources:
        for model in MODEL_ID.findall(source):
            versions_of_model.setdefault(model, set()).add((name, number))
    return versions_of_model


def remove_model(tracker: Tracker, model: LoggedFiles) -> bool:
    """Let MLflow delete a logged model, then remove its files; return False if a version uses it now."""
    if not model.deleted:
        with tracker.reaching() as client:
            if MODEL_VERSIONS in client.get_logged_model(model.id).tags:
                return False
        (model.folder / MARK).write_text(tracker.shown, encoding="utf-8")
        with tracker.reaching() as client:
            client.delete_logged_model(model.id)
    _remove_marked(model.folder)
    return True


def remove_content(model: LoggedFiles) -> bool:
    """Remove the model itself from a version's bundle, after writing why; return True."""
    content = model.content
    version = " or ".join(f"models:/{name}/{number}" for name, number in sorted(model.versions))
    note = model.bundle / WHY_MISSING
    note.write_text(NOTE.format(day=datetime.now(UTC).date(), version=version), encoding="utf-8")
    for path in content:
        path.unlink(missing_ok=True)
    return True


def _remove_marked(folder: Path) -> None:
    """Remove a folder, its mark last, so that what a kill leaves is known as removed."""
    for path in folder.iterdir():
        if path.name != MARK:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.rmtree(folder)


def _was_removed(tracker: Tracker, folder: Path) -> bool:
    """Return whether this store's MLflow deleted the model, and only its files are left."""
    with suppress(OSError):
        if (folder / MARK).read_text(encoding="utf-8") != tracker.shown:
            return False
        try:
            tracker.ask(lambda client: client.get_logged_model(folder.name))
        except ReviewLMError as error:
            return error_code(error) in ABSENT
    return False


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
