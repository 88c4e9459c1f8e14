"""Remove from a home folder what no version, no recent run and no running process needs.

First everything is listed and decided, then removed: results of the store, then logged models whose fits are gone and
old versions that the gate refused, then what is left of old runs. Each result is asked for its last
use once more before it goes (`core/removal.py`), so runs may start at any time.

List the files that old runs left in a home folder, besides results and MLflow's files.
"""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from stat import S_ISDIR
from typing import Any

from core.config.run_config import RunConfig
from core.errors import disk_errors
from core.lineage import FITS
from core.processes.crash_log import FOLDER as CRASHES
from core.removal import WORK, Removal, newest_change, one_collection
from core.store import ASIDE
from evaluation.reports.run_record import REPORT_FILE, REPORTS, read_records
from tasks.holdings import (
    RUNNING,
    VERSION,
    Holdings,
    Key,
    Times,
    kept_results,
    kept_versions,
    refused_versions,
    results_of,
    times_of,
    trackers_of,
    with_inputs,
)
from tasks.track import tracker_of
from tracking.logged_models.unused import (
    BROKEN,
    LoggedFiles,
    Run,
    VersionKey,
    all_versions,
    models_of,
    registered_models,
    remove_model,
    runs_of,
)
from tracking.registry.change import registry_lock
from tracking.registry.registry import Version
from tracking.runs.open_runs import end_left_runs
from tracking.runs.runs import Tracker
from tracking.tags import BUNDLE_TAG, DATA_TAG

RESULT, MODEL, REFUSED, FILES = "results", "logged models", "refused versions", "files of failed runs"
log = logging.getLogger(__name__)

UNFINISHED, DAMAGED = "unfinished results", "damaged results"
REPORT, CRASH = "reports", "crash logs"


@dataclass(frozen=True)
class Item:
    """Something that may be removed.

    Args:
        kind: What it is, in words.
        paths: Its folder or files.
        reason: Why it is kept; "" if it goes.
        remove: Removes it, and returns False if it was used meanwhile.
    """

    kind: str
    paths: tuple[Path, ...]
    reason: str
    remove: Callable[[], bool]


@dataclass
class Collected:
    """What was kept and removed, or would be; sizes in bytes."""

    items: list[Item]
    before: int
    after: int
    dry_run: bool
    notes: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as JSON values."""
        reasons = Counter(item.reason for item in self.items if item.kind == RESULT and item.reason)
        return {
            "dry_run": self.dry_run, "bytes_before": self.before, "bytes_after": self.after, "kinds": self.rows,
            "results_kept_because": dict(sorted(reasons.items())), "notes": self.notes,
        }


def collect(config: RunConfig, dry_run: bool = False, now: int | None = None) -> Collected:
    """Remove what is not needed, or with *dry_run* only list it; *now* is the time in nanoseconds since 1970.

    Raises:
        ArtifactError: Another collection is running.
        Damaged: The record of a version that is kept was changed, so it is not known what it needs.
    """
    store, moment, trackers = config.home / "store", now or time.time_ns(), trackers_of(config)
    with disk_errors(config.home):
        if dry_run:
            items, notes = _decide(config, trackers, moment)
            rows, before = _rows(items), _size([config.home])
            return Collected(items, before, before - sum(row["gone_bytes"] for row in rows), True, notes, rows)
        with one_collection(store):
            (removal := Removal(store)).empty()  # what a killed collection left
            before = _size([config.home])
            end_left_runs(config.home)  # else what they began with would stay for ever
            with registry_lock(tracker_of(config)):  # no alias moves to a version whose results are being removed
                items, notes = _decide(config, trackers, moment)
                rows = _rows(items)
                stayed = _remove(items, RESULT)
                removal.empty()  # what follows writes a little, which a full disk has no space for
                stayed += _remove(items, *{item.kind for item in items} - {RESULT})
            removal.empty()
        if stayed:
            notes.append(f"{stayed} were used meanwhile and stay")
        return Collected(items, before, _size([config.home]), False, notes, rows)


def _remove(items: Iterable[Item], *kinds: str) -> int:
    """Remove items of these kinds that are not kept; return how many stay because they were used meanwhile."""
    stayed = 0
    for item in items:
        if item.kind in kinds and not item.reason:
            log.debug("removing %s", *item.paths[:1])
            stayed += not item.remove()
    return stayed


def _decide(config: RunConfig, trackers: Sequence[Tracker], now: int) -> tuple[list[Item], list[str]]:
    """Return everything that may be removed, each with the reason to keep it, if there is one, and notes."""
    store = config.home / "store"
    holdings = Holdings(store)  # listed first: what is used from now on has another time of use
    runs = {tracker.uri: runs_of(tracker) for tracker in trackers}
    versions = {tracker.uri: all_versions(tracker) for tracker in trackers}
    chosen = {tracker.uri: kept_versions(versions[tracker.uri], config.upkeep.versions) for tracker in trackers}
    times = times_of(config, runs, now)
    roots: dict[Key, str] = {}
    for tracker in trackers:
        for version in chosen[tracker.uri]:
            roots |= results_of(tracker, holdings, version)
    reasons = _kept(holdings, roots, chain(*versions.values()), times)
    removal = Removal(store)
    items = [
        Item(RESULT, (store / stage / digest,), reasons.get((stage, digest), ""),
             partial(removal.remove, stage, digest, used))
        for (stage, digest), used in holdings.used.items()
    ]  # fmt: skip
    notes = [] if times.recent else [f"fewer than {config.upkeep.runs} runs have finished: all results count as recent"]
    listed = {one.uri: models_of(one, registered_models(one, versions[one.uri]))
              for one in trackers if not one.uri.startswith("http")}  # fmt: skip
    for tracker in trackers:
        if tracker.uri not in listed:
            notes.append(f"the files of runs and logged models at {tracker.shown} are that server's: see `mlflow gc`")
        else:
            newest = max(config.upkeep.refused, config.upkeep.versions)
            refused = refused_versions(tracker, versions[tracker.uri], newest)
            items += _models(listed[tracker.uri], tracker, refused, runs[tracker.uri], reasons, times, removal)
            items += _files(runs[tracker.uri], versions[tracker.uri], times)
    bundles = {version.tags.get(BUNDLE_TAG, "") for version in chain(*chosen.values())} - {""}
    for one in leftovers(config.home, times.oldest, bundles):
        reason = VERSION if one.needed else "recent" if one.changed >= times.oldest else ""
        items.append(Item(one.kind, (one.path,), reason, one.remove))
    return items, notes


def _kept(holdings: Holdings, roots: Mapping[Key, str], versions: Iterable[Version], times: Times) -> dict[Key, str]:
    """Return the kept results with their reasons; *roots* are those of versions that are kept whole."""
    reasons = kept_results(holdings, roots, times.limits)
    if holdings.starts_unknown(reasons):  # the gate asks which reviews the earlier champions were trained on
        data = {("prepare", version.tags.get(DATA_TAG, "")): VERSION for version in versions}
        reasons = with_inputs(data | reasons, holdings.made_from)
    return reasons


def _models(
    models: Iterable[LoggedFiles], tracker: Tracker, refused: Collection[VersionKey], runs: list[Run],
    reasons: Container[Key], times: Times, removal: Removal,
) -> Iterable[Item]:
    """Yield the logged models: those of no version, or of versions that the gate has *refused* long ago, may go.

    Those of a fit that is in the store stay, because a run that uses the fit links them.
    """
    by_id = {run.id: run for run in runs}
    for model in models:
        run = by_id.get(model.run_id)
        fit = (_stage_of(run.fit, removal.root), run.fit) if run and run.fit else None
        started = max(model.created, run.started if run else 0)
        reason = "of a kept fit" if fit in reasons else "of a recent run" if started >= times.oldest else ""
        if model.versions and not model.versions <= set(refused):
            reason = "of a version"
        elif model.versions and times.running is not None:
            reason = RUNNING
        stored = removal.root.joinpath(*fit) if fit else None
        work = partial(_remove_model, tracker, model, stored, removal)
        yield Item(REFUSED if model.versions and not reason else MODEL, (model.folder,), reason, work)


def _stage_of(fit: str, store: Path) -> str:
    """Return the stage that made a fit."""
    return next((stage for stage in FITS if (store / stage / fit).is_dir()), FITS[0])


def _remove_model(tracker: Tracker, model: LoggedFiles, fit: Path | None, removal: Removal) -> bool:
    """Remove a logged model, unless its fit was used or a version was given an alias meanwhile."""
    return not (fit and fit.is_dir()) and remove_model(tracker, model, removal.remove_other)


def _files(runs: Iterable[Run], versions: Iterable[Version], times: Times) -> Iterable[Item]:
    """Yield the artifacts of runs that failed or were killed."""
    needed = {version.run_id for version in versions}
    for run in runs:
        if run.status in BROKEN and run.files is not None and run.files.is_dir():
            reason = "of a version" if run.id in needed else ("of a recent run" if run.started >= times.oldest else "")
            yield Item(FILES, (run.files,), reason, partial(_done, shutil.rmtree, run.files))


def _rows(items: Iterable[Item]) -> list[dict[str, Any]]:
    """Return one row per kind: number and bytes of what is kept and of what goes."""
    rows: dict[str, dict[str, Any]] = {}
    for item in items:
        empty = {"kind": item.kind, "kept": 0, "kept_bytes": 0, "gone": 0, "gone_bytes": 0}
        row, word = rows.setdefault(item.kind, empty), "kept" if item.reason else "gone"
        row[word] += 1
        row[f"{word}_bytes"] += _size(item.paths)
    return list(rows.values())


def _size(paths: Iterable[Path]) -> int:
    """Return the bytes of all files below some paths; a file with several names counts as a part for each of them."""
    size = 0.0
    for path in chain.from_iterable((one, *one.rglob("*")) for one in paths):
        with suppress(OSError):
            about = path.lstat()
            if not S_ISDIR(about.st_mode):
                size += about.st_size / about.st_nlink
    return round(size)


@dataclass(frozen=True)
class Leftover:
    """A folder or file with the time of its last change in nanoseconds, and how it is removed; False: it stays."""

    kind: str
    path: Path
    changed: int
    remove: Callable[[], bool]
    needed: bool = False


def leftovers(home: Path, before: int, bundles: set[str]) -> Iterator[Leftover]:
    """Yield what runs and deployments left: unfinished and damaged results, reports, crash logs.

    Args:
        before: What changed at or after this time stays; an unfinished result is asked for it once more.
        bundles: SHA-256 of the bundles of kept versions; the reports that say how they were made are needed.
    """
    store = home / "store"
    removal = Removal(store)
    for work in _below(store / WORK, "*"):
        if work.is_dir():
            changed = newest_change(work)
            yield Leftover(UNFINISHED, work, changed, partial(removal.remove_unfinished, work, before))
    for folder in _below(store / ASIDE, "*"):
        yield Leftover(DAMAGED, folder, _set_aside(folder), partial(_done, removal.remove_other, folder))
    yield from _reports(home / REPORTS, removal, bundles)
    for file in _below(home / CRASHES, "*.log"):
        yield Leftover(CRASH, file, file.stat().st_mtime_ns, partial(_done, _unlink, file))


def _reports(reports: Path, removal: Removal, bundles: set[str]) -> Iterator[Leftover]:
    latest = reports / "latest"
    for name, record in read_records(reports).items():
        folder = reports / name
        needed = record.get("bundle") in bundles or latest.resolve() == folder.resolve()
        changed = (folder / REPORT_FILE).stat().st_mtime_ns
        yield Leftover(REPORT, folder, changed, partial(_done, removal.remove_other, folder), needed)


def _set_aside(folder: Path) -> int:
    """Return when a damaged result was set aside: its name ends with the time."""
    name = re.search(r"-(\d{16,})$", folder.name)
    return int(name[1]) if name else newest_change(folder)


def _below(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern)) if folder.is_dir() else []


def _unlink(file: Path) -> None:
    file.unlink(missing_ok=True)


def _done(work: Callable[[Path], object], path: Path) -> bool:
    work(path)
    return True
