"""List the files that old runs left in a home folder, besides results and MLflow's files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from core.content_check import RECORDS
from core.processes.crash_log import FOLDER as CRASHES
from core.services.deployed_code import FOLDER as DEPLOYED
from core.services.deployed_code import unused_copies
from core.store import ASIDE
from core.storing.removal import WORK, Removal, newest_change
from evaluation.reports.run_record import REPORT_FILE, REPORTS, read_records
from tasks.upkeep.needed import HOUR
from tracking.moved_home import DATABASE, KEPT

UNFINISHED, DAMAGED, RECORD = "unfinished results", "damaged results", "records of checks"
REPORT, COPY, CRASH, CODE = "reports", "copies of the database", "crash logs", "deployed code"


@dataclass(frozen=True)
class Leftover:
    """A folder or file with the time of its last change in nanoseconds, and how it is removed; False: it stays."""

    kind: str
    path: Path
    changed: int
    remove: Callable[[], bool]
    needed: bool = False


def leftovers(home: Path, before: int, bundles: set[str]) -> Iterator[Leftover]:
    """Yield what runs and deployments left: unfinished and damaged results, records, reports, copies, crash logs.

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
    for record in _below(store / RECORDS, "*.json"):
        stage, _, digest = record.stem.rpartition("-")
        if not (store / stage / digest).exists():
            yield Leftover(RECORD, record, record.stat().st_mtime_ns, partial(_done, _unlink, record))
    yield from _reports(home / REPORTS, removal, bundles)
    unused = unused_copies(home, os.environ)
    for copy in _below(home / DEPLOYED, "*"):
        changed = copy.stat().st_mtime_ns + HOUR  # a run began seconds after it was noted there
        yield Leftover(CODE, copy, changed, partial(_done, removal.remove_other, copy), copy not in unused)
    for kind, files in ((COPY, _below(home / KEPT, f"{DATABASE}.*")), (CRASH, _below(home / CRASHES, "*.log"))):
        for file in files:
            yield Leftover(kind, file, file.stat().st_mtime_ns, partial(_done, _unlink, file))


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
