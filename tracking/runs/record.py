"""Keep, on this disk, what MLflow still has to show of a run: one small JSON file a run.

`tracking/runs/publish.py` sends a record and removes from it what MLflow has. So a process that is killed, or a server
that is away, loses nothing: the next `publish` of the run goes on from its record. A record merges what is written to
it; it is no queue. A run that was started while MLflow did not answer keeps its record, which translates its local name
(`pending-…`) into MLflow's id.

Files of a run lie beside its record until they are sent. A bundle is named by its path while it is sent; one that could
not be sent is linked or copied there, because the original may be deleted. A process that has a run open holds a lock
beside its record.

Beside the records of a store stands its address, so that every store can be asked and caught up.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from reviewlm.core.errors import Damaged, ReviewLMError, disk_errors
from reviewlm.core.output import write_output
from reviewlm.core.processes.leftovers import is_held
from reviewlm.core.sqlite_files import DATABASE, home_database

if TYPE_CHECKING:
    from reviewlm.tracking.client import Connection

PENDING = "pending-"
"""Beginning of the local name of a run that MLflow does not know yet."""
FOLDER = "runs"
FILE = "record.json"
FILES = "files"
MODELS = "models"
LOCK = "open.lock"
ADDRESS = "address"
OWN = "home"
"""Name of the home folder's own database, wherever the folder lies."""
LOCKS = 16
"""Locks of a store: two runs wait for each other if their names have the same one."""


@dataclass
class Record:
    """The rest of a run's data that MLflow does not have yet.

    Args:
        run: The name that the pipeline uses: MLflow's id, or the local name.
        experiment: Name of the experiment.
        run_id: MLflow's id; empty while MLflow does not know the run.
        open: Whether a process has the run open; it holds the lock beside the record.
        start: Name, tags and time; None once MLflow knows the run.
        points: By step and name: a `Point`.
        inputs: Data sets, as `Tracker.log_datasets` describes them.
        models: Name, bundle and package of each logged model.
        files: Whether there are files (`Records.files`).
        tables: The paths of those that the UI shows as tables.
        end: Status and time; None while the run is open.
        refused: What MLflow will never accept: kind and reason.
    """

    run: str
    experiment: str
    run_id: str = ""
    open: bool = False
    start: dict[str, Any] | None = None
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    inputs: list[dict[str, Any]] = field(default_factory=list)
    models: list[dict[str, str]] = field(default_factory=list)
    points: dict[str, list[Any]] = field(default_factory=dict)
    files: bool = False
    tables: list[str] = field(default_factory=list)
    end: dict[str, Any] | None = None
    refused: list[dict[str, str]] = field(default_factory=list)

    @property
    def waits(self) -> bool:
        """Whether MLflow has not everything yet."""
        return self.holds_up or self.files or bool(self.tables)

    @property
    def holds_up(self) -> bool:
        """Whether MLflow lacks more than files that are only looked at."""
        return any(
            (self.start, self.tags, self.params, self.inputs, self.models, self.points, self.end)
        )

    def merge(self, part: dict[str, Any]) -> None:
        """Add new values; a later value replaces an earlier one."""
        for name, value in part.items():
            before = getattr(self, name)
            if name == "points":
                value = _changed_points(before, value)
            if isinstance(before, dict) and name not in ("start", "end"):
                value = before | value
            elif isinstance(before, list):
                value = before + [entry for entry in value if entry not in before]
            setattr(self, name, value)


def _changed_points(before: Mapping[str, Any], points: Mapping[str, Any]) -> dict[str, Any]:
    """Return the points with other values: logged again without its data set, a figure keeps the one that it has."""
    changed = {}
    for key, point in points.items():
        if key not in before or before[key][1] != point[1]:
            changed[key] = point

    return changed


class Records:
    """The records of one store in a home folder.

    Every method raises ArtifactError (StoreFull, NotWritable, Damaged) if they cannot be read or written.
    """

    def __init__(self, home: Path, uri: str) -> None:
        self.folder = home / FOLDER / store_key(uri, home)

    def lock(self, run: str) -> FileLock:
        """Return the lock of a run, for the threads and processes that write it; an interrupt may take it again."""
        number = int(hashlib.sha256(run.encode()).hexdigest(), 16) % LOCKS
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        return _lock(self.folder / f"{number}.lock", os.getpid())

    def read(self, run: str) -> Record | None:
        """Return the record of a run; None if there is none.

        Raises:
            Damaged: It is no record.
        """
        file = self.folder / run / FILE
        with disk_errors(file):
            try:
                return Record(**json.loads(file.read_bytes()))
            except (FileNotFoundError, NotADirectoryError):
                return None
            except (ValueError, TypeError) as error:
                raise Damaged(
                    "The record of a run for MLflow is damaged",
                    where=file,
                    cause=str(error),
                    remedy="move its folder away: what it holds can no longer be sent",
                ) from error

    def write(self, record: Record) -> None:
        """Write a record, or remove it once the run has ended and MLflow has everything and knows it by its own id."""
        folder = self.folder / record.run
        if not any((record.waits, record.refused, record.open)) and record.run == record.run_id:
            self.forget(record.run)
            return

        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            # Without waiting for the disk: a run writes its record many times.
            part = folder / f"{FILE}.part"
            with os.fdopen(
                os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
            ) as file:
                json.dump(asdict(record), file)
            part.replace(folder / FILE)

        if not record.models:
            shutil.rmtree(folder / MODELS, ignore_errors=True)

    def forget(self, run: str) -> None:
        """Remove the record of a run whose local name nobody uses."""
        shutil.rmtree(self.folder / run, ignore_errors=True)

    def is_left(self, record: Record) -> bool:
        """Return whether the process that had a run open is gone.

        A home that was restored from a backup has no locks, and the locks of a copy are other files than those that
        were held. Runs of such a home in a server may go on in the original home.
        """
        lock = self.folder / record.run / LOCK
        try:
            copied = lock.read_text(encoding="ascii") != str(lock.stat().st_ino)
        except FileNotFoundError:
            copied = True
        except OSError:  # of another user
            copied = False
        return record.open and (self.folder.name == OWN if copied else not is_open(lock))

    def files(self, run: str) -> Path:
        """Return the folder of the files of a run that MLflow does not have yet."""
        return self.folder / run / FILES

    def keep_models(self, record: Record) -> None:
        """Copy the models that a record names and that could not be sent; as they never change, files are linked."""
        place = self.folder / record.run / MODELS
        for model in record.models:
            for name in ("bundle", "package"):
                source = Path(model[name])
                target = place / uuid.uuid4().hex / Path(model[name]).name
                if place not in source.parents and source.is_dir():
                    with disk_errors(place):
                        shutil.copytree(source, target, copy_function=link_or_copy)
                    model[name] = str(target)

    def all(self) -> Iterator[Record]:
        """Yield the records of all runs, parents before their children."""
        read = [self.read(file.parent.name) for file in self.folder.glob(f"*/{FILE}")]
        records = [record for record in read if record is not None]
        yield from sorted(records, key=lambda record: (record.start or {}).get("time", 0))


@cache
def _lock(file: Path, process: int) -> FileLock:
    """Return one lock a file and process: a lock that a forked process inherits cannot be used."""
    return FileLock(file, thread_local=True)


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Create a hard link to a file that never changes, or a copy if the disk has no links: weights can be large."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def is_open(lock: Path) -> bool:
    """Return whether a process has the run of a lock open; a lock of another user that cannot be opened says so."""
    try:
        return is_held(lock)
    except OSError:
        return True


def open_locks(home: Path, held: bool) -> list[Path]:
    """Return the locks of open runs that a living process holds, or those that none does."""
    return [file for file in (home / FOLDER).glob(f"*/*/{LOCK}") if is_open(file) == held]


def store_key(uri: str, home: Path) -> str:
    """Return the name by which files of a home folder mean a store; its address may hold a password."""
    if uri == home_database(home):
        return OWN
    return hashlib.sha256(uri.encode()).hexdigest()[:16]


def remember_store(tracker: Connection) -> None:
    """Record the address of a store outside the home folder, with its password, for the home folder's owner only."""
    folder = Records(tracker.artifact_root.parent, tracker.uri).folder
    with suppress(ReviewLMError):  # a full disk must not end a run
        if folder.name != OWN and not (folder / ADDRESS).exists():
            write_output(folder / ADDRESS, tracker.uri, 0o600)


def known_stores(home: Path) -> list[str]:
    """Return the addresses of the home folder's own database, if it exists, and of all remembered stores."""
    of_home = []
    if (home / DATABASE).is_file():
        of_home = [home_database(home)]

    files = sorted((home / FOLDER).glob(f"*/{ADDRESS}"))
    return [*of_home, *(file.read_text(encoding="utf-8") for file in files)]


def waiting_runs(home: Path) -> list[dict[str, Any]]:
    """Return one row a store and experiment with runs that MLflow has not everything of: their number, and refusals."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for uri in dict.fromkeys((home_database(home), *known_stores(home))):
        for record in Records(home, uri).all():
            if record.waits or record.refused:
                empty = {
                    "store": uri,
                    "experiment": record.experiment,
                    "waiting": 0,
                    "refused": 0,
                }
                row = rows.setdefault((uri, record.experiment), empty)
                row["waiting"] += record.waits
                row["refused"] += len(record.refused)

    return list(rows.values())
