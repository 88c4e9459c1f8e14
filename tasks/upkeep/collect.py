"""Remove from a home folder what no version, no recent run and no running process needs.

First everything is listed and decided, then removed: results of the store, then logged models whose fits are gone and
old versions that the gate refused, then what is left of old runs. Each result is asked for its last
use once more before it goes (`core/removal.py`), so runs may start at any time.
"""

from __future__ import annotations

import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from stat import S_ISDIR
from typing import Any

from reviewlm.core.config.sections.execution import UpkeepConfig
from reviewlm.core.errors import disk_errors
from reviewlm.core.lineage import FITS
from reviewlm.core.processes.crash_log import FOLDER as CRASHES
from reviewlm.core.removal import WORK, Removal, newest_change, one_collection
from reviewlm.core.sqlite_files import home_database
from reviewlm.core.store import ASIDE
from reviewlm.core.workspace import Workspace
from reviewlm.evaluation.reports.run_record import REPORT_FILE, REPORTS, read_records
from reviewlm.tasks.records.track import tracker_of
from reviewlm.tasks.upkeep.holdings import (
    RECENT,
    RUNNING,
    VERSION,
    Holdings,
    Key,
    kept_versions,
    limits_of,
    refused_versions,
    results_of,
)
from reviewlm.tracking.logged_models.unused import (
    BROKEN,
    LoggedFiles,
    Run,
    all_versions,
    models_of,
    remove_model,
    runs_of,
)
from reviewlm.tracking.registry.registered_model import registry_lock
from reviewlm.tracking.registry.versions import Version
from reviewlm.tracking.runs.record import known_stores
from reviewlm.tracking.runs.runs import Tracker, end_left_runs
from reviewlm.tracking.tags import BUNDLE_TAG

RESULT = "results"
MODEL = "logged models"
REFUSED = "refused versions"
FILES = "files of failed runs"
UNFINISHED = "unfinished results"
DAMAGED = "damaged results"
REPORT = "reports"
CRASH = "crash logs"


@dataclass(frozen=True)
class Item:
    """Something that may be removed.

    Args:
        reason: Why it is kept; "" if it goes.
        remove: Removes it, and returns False if it was used meanwhile.
    """

    kind: str
    path: Path
    reason: str
    remove: Callable[[], object]


def collect(
    workspace: Workspace,
    upkeep: UpkeepConfig,
    dry_run: bool = False,
    now: int | None = None,
) -> dict[str, Any]:
    """Remove results, models and files of runs that nothing kept needs, or with *dry_run* only list them.

    Args:
        now: The time in nanoseconds since 1970.

    Returns:
        JSON values: bytes before and after; one row for each of the `kinds` with the number and the bytes of what is
        kept and of what goes; numbers of results by the reason to keep them; notes.

    Raises:
        ArtifactError: Another collection is running.
        Damaged: The record of a version that is kept was changed, so it is not known what it needs.
    """
    removal = Removal(workspace.home / "store")
    moment = now or time.time_ns()
    stayed = 0
    with disk_errors(workspace.home):
        if dry_run:
            items, notes = _decide(workspace, upkeep, removal, moment)
            rows = _rows(items)
            before = _size(workspace.home)
            after = before - sum(row["gone_bytes"] for row in rows)
        else:
            with one_collection(removal.root):
                removal.empty()  # what a killed collection left
                before = _size(workspace.home)
                end_left_runs(workspace.home)  # else what they began with would stay for ever
                # No alias moves to a version whose results are being removed.
                with registry_lock(tracker_of(workspace)):
                    items, notes = _decide(workspace, upkeep, removal, moment)
                    rows = _rows(items)
                    going = [item for item in items if not item.reason]
                    results = [item for item in going if item.kind == RESULT]
                    others = [item for item in going if item.kind != RESULT]
                    for batch in (results, others):
                        stayed += sum(item.remove() is False for item in batch)
                        removal.empty()  # what follows writes a little, which a full disk has no space for
            after = _size(workspace.home)

    if stayed:
        notes = [*notes, f"{stayed} were used meanwhile and stay"]

    reasons = Counter(item.reason for item in items if item.kind == RESULT and item.reason)
    return {
        "dry_run": dry_run,
        "bytes_before": before,
        "bytes_after": after,
        "kinds": rows,
        "results_kept_because": dict(sorted(reasons.items())),
        "notes": notes,
    }


def _decide(
    workspace: Workspace,
    upkeep: UpkeepConfig,
    removal: Removal,
    now: int,
) -> tuple[list[Item], list[str]]:
    """Return everything that may be removed, each with the reason to keep it, if there is one, and notes."""
    store = workspace.home / "store"
    holdings = Holdings(store)  # listed first: what is used from now on has another time of use
    trackers = trackers_of(workspace)
    runs = {tracker.uri: runs_of(tracker) for tracker in trackers}
    versions = {tracker.uri: all_versions(tracker) for tracker in trackers}
    chosen = {uri: kept_versions(some, upkeep.versions) for uri, some in versions.items()}
    limits = limits_of(workspace.home, upkeep, runs, now)
    # What is older belongs to no recent run and no running process.
    oldest = min(since for since, _ in limits)
    roots: dict[Key, str] = {}
    for tracker in trackers:
        for version in chosen[tracker.uri]:
            roots |= results_of(tracker, holdings, version)

    reasons = holdings.kept_results(roots, limits)
    items: list[Item] = []
    for key, used in holdings.used.items():
        folder = store.joinpath(*key)
        work = partial(removal.remove, folder, used)
        items.append(Item(RESULT, folder, reasons.get(key, ""), work))

    few = f"fewer than {upkeep.runs} runs have finished: all results count as recent"
    notes = [few] if (0, RECENT) in limits else []
    for tracker in trackers:
        if tracker.uri.startswith("http"):
            notes.append(
                f"the files of runs and logged models at {tracker.shown} are that server's: see `mlflow gc`"
            )
        else:
            of_store = runs[tracker.uri], versions[tracker.uri]
            running = any(reason == RUNNING for _, reason in limits)
            items += _models(
                upkeep,
                tracker,
                *of_store,
                reasons,
                oldest,
                running,
                removal,
            )
            items += _files(*of_store, oldest)

    bundles = {version.tags.get(BUNDLE_TAG, "") for version in chain(*chosen.values())} - {""}
    return items + list(_leftovers(workspace.home, oldest, bundles, removal)), notes


def trackers_of(workspace: Workspace) -> list[Tracker]:
    """Return the connections to the configured MLflow store and to all others that runs of this home folder wrote to.

    The home folder's own database is left out if it does not exist.
    """
    configured = tracker_of(workspace)
    others = []
    if configured.uri != home_database(workspace.home):
        others = [configured.uri]

    uris = dict.fromkeys([*others, *known_stores(workspace.home)])
    return [Tracker(uri, configured.experiment, configured.artifact_root) for uri in uris]


def _models(
    upkeep: UpkeepConfig,
    tracker: Tracker,
    runs: Sequence[Run],
    versions: Sequence[Version],
    reasons: Mapping[Key, str],
    oldest: int,
    running: bool,
    removal: Removal,
) -> Iterator[Item]:
    """Yield the logged models: those of no version, or of versions that the gate has refused long ago, may go.

    Those of a fit that is in the store stay, because a run that uses the fit links them.
    """
    refused = refused_versions(tracker, versions, max(upkeep.refused, upkeep.versions))
    by_id = {run.id: run for run in runs}
    for model in models_of(tracker, versions):
        run = by_id.get(model.run_id)
        keys = []
        if run and run.fit:
            keys = [(stage, run.fit) for stage in FITS]

        started = max(model.created, run.started if run else 0)
        reason = "of a recent run" if started >= oldest else ""
        if any(key in reasons for key in keys):
            reason = "of a kept fit"
        if model.versions and not model.versions <= refused:
            reason = "of a version"
        elif model.versions and running:
            reason = RUNNING
        folders = [removal.root.joinpath(*key) for key in keys]
        work = partial(
            _remove_model,
            tracker,
            model,
            folders,
            removal,
        )
        yield Item(REFUSED if model.versions and not reason else MODEL, model.folder, reason, work)


def _remove_model(
    tracker: Tracker,
    model: LoggedFiles,
    fits: Iterable[Path],
    removal: Removal,
) -> bool:
    """Remove a logged model, unless its fit was used or a version was given an alias meanwhile."""
    if any(fit.is_dir() for fit in fits):
        return False

    return remove_model(tracker, model, removal.remove_other)


def _files(
    runs: Iterable[Run],
    versions: Iterable[Version],
    oldest: int,
) -> Iterator[Item]:
    """Yield the artifacts of runs that failed or were killed."""
    needed = {version.run_id for version in versions}
    for run in runs:
        if run.status in BROKEN and run.files is not None and run.files.is_dir():
            reason = ""
            if run.id in needed:
                reason = "of a version"
            elif run.started >= oldest:
                reason = "of a recent run"
            yield Item(FILES, run.files, reason, partial(shutil.rmtree, run.files))


def _leftovers(
    home: Path,
    oldest: int,
    bundles: set[str],
    removal: Removal,
) -> Iterator[Item]:
    """Yield the leftovers of runs and deployments: unfinished and damaged results, reports, crash logs.

    The reports that say how the kept versions with the *bundles* were made, by their SHA-256, are needed.
    """
    store = home / "store"
    reports = home / REPORTS
    latest = (home / REPORTS / "latest").resolve()

    def left(
        kind: str,
        path: Path,
        changed: int,
        remove: Callable[[], object],
        needed: bool = False,
    ) -> Item:
        reason = ""
        if needed:
            reason = VERSION
        elif changed >= oldest:
            reason = "recent"
        return Item(kind, path, reason, remove)

    for work in sorted((store / WORK).glob("*")):
        if work.is_dir():
            changed = newest_change(work)
            yield left(
                UNFINISHED, work, changed, partial(removal.remove, work, changed, newest_change)
            )

    for folder in sorted((store / ASIDE).glob("*")):
        name = re.search(r"-(\d{16,})$", folder.name)  # when it was set aside
        if name:
            changed = int(name[1])
        else:
            changed = newest_change(folder)

        yield left(DAMAGED, folder, changed, partial(removal.remove_other, folder))

    for run, record in read_records(reports).items():
        folder = reports / run
        changed = (folder / REPORT_FILE).stat().st_mtime_ns
        needed = record.get("bundle") in bundles or folder.resolve() == latest
        yield left(
            REPORT,
            folder,
            changed,
            partial(removal.remove_other, folder),
            needed,
        )

    for file in sorted((home / CRASHES).glob("*.log")):
        yield left(CRASH, file, file.stat().st_mtime_ns, partial(file.unlink, missing_ok=True))


def _rows(items: Iterable[Item]) -> list[dict[str, Any]]:
    """Return one row per kind: number and bytes of what is kept and of what goes."""
    rows: dict[str, dict[str, Any]] = {}
    for item in items:
        empty = {
            "kind": item.kind,
            "kept": 0,
            "kept_bytes": 0,
            "gone": 0,
            "gone_bytes": 0,
        }
        row = rows.setdefault(item.kind, empty)
        word = "kept" if item.reason else "gone"
        row[word] += 1
        row[f"{word}_bytes"] += _size(item.path)

    return list(rows.values())


def _size(folder: Path) -> int:
    """Return the bytes of all files of a folder, or of a file; one with several names counts in part for each."""
    size = 0.0
    for path in (folder, *folder.rglob("*")):
        with suppress(OSError):
            about = path.lstat()
            if not S_ISDIR(about.st_mode):
                size += about.st_size / about.st_nlink
    return round(size)
