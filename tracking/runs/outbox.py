"""Queue on disk, in order, the writes that MLflow has not received yet.

Each store and experiment has a SQLite file in the home folder. It outlives the process: the next process that writes
sends the queued writes first. Files of a write are copied next to it, because the originals may be deleted before it is
sent. A write and its copies are added in one transaction; copies of a killed process, which no write names, are deleted
by the next one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from core.errors import ArtifactError, Damaged, disk_errors

SCHEMA = """
CREATE TABLE IF NOT EXISTS about (uri TEXT, experiment TEXT);
CREATE TABLE IF NOT EXISTS writes (
    number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, run_id TEXT NOT NULL, details TEXT NOT NULL,
    files TEXT NOT NULL, tries INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS runs (local TEXT PRIMARY KEY, run_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS refused (kind TEXT, run_id TEXT, details TEXT, reason TEXT, time REAL);
CREATE TABLE IF NOT EXISTS pause (until REAL NOT NULL, failures INTEGER NOT NULL);
"""
FILE, FILES = "outbox.db", "files"
BROKEN = ("not a database", "malformed", "no such table", "no such column")
"""SQLite's messages for a file that does not hold a valid queue."""
PAUSES = (5.0, 10.0, 30.0, 60.0)
"""Seconds between attempts to reach a store that did not answer: each attempt makes the user wait."""
LOCKED = 600.0
"""Seconds to wait for a process that adds a write: where the disk has no hard links, it copies a model meanwhile."""


@dataclass(frozen=True)
class Write:
    """A write to a run.

    Args:
        kind: Key of the function in `tracking.runs.writes.SENDERS` that sends it.
        run_id: MLflow's id of the run, or its local name while MLflow does not know it.
        details: Values that can be stored as JSON.
        files: Files or folders of the write, by name.
    """

    kind: str
    run_id: str
    details: dict[str, Any]
    files: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Waiting:
    """A queued write, its number, and the number of earlier attempts to send it."""

    number: int
    tries: int
    write: Write


class Outbox:
    """The queue of one store and experiment. No file is created before the first write has to be queued.

    Args:
        root: Folder of all queues of a home folder.
        uri: Address of the store.
        experiment: Name of the experiment.

    Every method raises ArtifactError (StoreFull, NotWritable, Damaged) if the queue itself cannot be read or written.
    """

    def __init__(self, root: Path, uri: str, experiment: str) -> None:
        self.uri, self.experiment = uri, experiment
        key = hashlib.sha256(f"{uri}\n{experiment}".encode()).hexdigest()[:12]
        self.folder = Path(root) / key
        self.lock = FileLock(self.folder / "sending.lock", thread_local=False)

    @property
    def exists(self) -> bool:
        """Whether the file of the queue exists."""
        return (self.folder / FILE).is_file()

    def waiting(self) -> int:
        """Return the number of queued writes."""
        return len(self._read("SELECT number FROM writes"))

    def put(self, write: Write) -> None:
        """Append a write, with copies of its files."""
        name = uuid.uuid4().hex if write.files else ""
        row = (write.kind, write.run_id, json.dumps(write.details), name)
        with self._changing() as database:
            database.execute("INSERT INTO writes (kind, run_id, details, files) VALUES (?, ?, ?, ?)", row)
            try:
                with disk_errors(self.folder):
                    for file, source in write.files.items():
                        _copy(source, self.folder / FILES / name / file, shared=file == "bundle")
            except BaseException:
                if name:
                    shutil.rmtree(self.folder / FILES / name, ignore_errors=True)
                raise

    def first(self) -> Waiting | None:
        """Return the next write and count this attempt to send it; return None if the queue is empty."""
        if not self.exists:
            return None
        with self._changing() as database:
            row = database.execute("SELECT * FROM writes ORDER BY number LIMIT 1").fetchone()
            database.execute("UPDATE writes SET tries = tries + 1 WHERE number = ?", row[:1] if row else (0,))
        if row is None:
            return None
        number, kind, run_id, details, files, tries = row
        folder = self.folder / FILES / files
        paths = {path.name: path for path in sorted(folder.iterdir())} if files and folder.is_dir() else {}
        return Waiting(number, tries, Write(kind, run_id, json.loads(details), paths))

    def sent(self, waiting: Waiting, run_id: str | None = None) -> None:
        """Remove a sent write; if it started a run, store the id that MLflow gave the run."""
        with self._changing() as database:
            if run_id:
                database.execute("INSERT OR REPLACE INTO runs VALUES (?, ?)", (waiting.write.run_id, run_id))
            database.execute("DELETE FROM writes WHERE number = ?", (waiting.number,))

    def refuse(self, waiting: Waiting, reason: str) -> None:
        """Remove a write that MLflow will never accept, and keep a record of it for the user."""
        write = waiting.write
        with self._changing() as database:
            values = (write.kind, write.run_id, json.dumps(write.details)[:10_000], reason, time.time())
            database.execute("INSERT INTO refused VALUES (?, ?, ?, ?, ?)", values)
            database.execute("DELETE FROM writes WHERE number = ?", (waiting.number,))

    def refused(self) -> list[dict[str, Any]]:
        """Return kind, run_id and reason of the refused writes."""
        rows = self._read("SELECT kind, run_id, reason FROM refused ORDER BY time")
        return [dict(zip(("kind", "run_id", "reason"), row, strict=True)) for row in rows]

    def known_as(self, local: str) -> str | None:
        """Return MLflow's id of a run with a local name, or None if MLflow has not received the run yet."""
        return next((str(run_id) for (run_id,) in self._read("SELECT run_id FROM runs WHERE local = ?", local)), None)

    def pause(self) -> float:
        """Record that the store did not answer, and return the number of seconds until the next attempt."""
        with self._changing() as database:
            row = database.execute("SELECT failures FROM pause").fetchone()
            failures = (row[0] if row else 0) + 1
            seconds = PAUSES[min(failures, len(PAUSES)) - 1]
            database.execute("DELETE FROM pause")
            database.execute("INSERT INTO pause VALUES (?, ?)", (time.time() + seconds, failures))
        return seconds

    def resume(self) -> None:
        """Record that the store answers."""
        with self._changing() as database:
            database.execute("DELETE FROM pause")

    def paused(self) -> bool:
        """Return whether the next attempt must still wait because the store did not answer."""
        now = time.time()  # no pause ends later than the longest one: the clock may have been set back
        return any(now < until < now + PAUSES[-1] + 1 for (until,) in self._read("SELECT until FROM pause"))

    def _read(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query; none if nothing was ever queued."""
        if not self.exists:
            return []
        file = self.folder / FILE
        with _naming(file), closing(sqlite3.connect(file, timeout=LOCKED)) as database:
            return database.execute(query, values).fetchall()

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """Yield the database in a transaction that one thread of one process can have at a time."""
        file = self.folder / FILE
        if not file.exists():
            self._create(file)
        with _naming(file), closing(sqlite3.connect(file, timeout=LOCKED)) as database:
            database.execute("BEGIN IMMEDIATE")
            with database:
                named = {name for (name,) in database.execute("SELECT files FROM writes")}
                for copies in (self.folder / FILES).glob("*"):
                    if copies.name not in named:  # of a sent write, or of a process that was killed before it added one
                        shutil.rmtree(copies, ignore_errors=True)
                yield database

    def _create(self, file: Path) -> None:
        """Create the database under another name and rename it, so that the file never exists without its tables."""
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / "creating.lock"), _naming(file):
            if file.exists():
                return
            unfinished = file.with_suffix(".new")
            unfinished.unlink(missing_ok=True)
            with closing(sqlite3.connect(unfinished)) as database, database:
                database.executescript(SCHEMA)
                database.execute("INSERT INTO about VALUES (?, ?)", (self.uri, self.experiment))
            unfinished.rename(file)


def outboxes(root: Path) -> list[Outbox]:
    """Return all queues in a folder, for any store.

    Raises:
        Damaged: A file does not hold a valid queue.
        ArtifactError: A file cannot be read.
    """
    found = []
    for file in sorted(Path(root).glob(f"*/{FILE}")):
        with _naming(file), closing(sqlite3.connect(file)) as database:
            found += [Outbox(root, *row) for row in database.execute("SELECT uri, experiment FROM about LIMIT 1")]
    return found


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Convert SQLite's errors into the project's errors, with the file of the queue."""
    try:
        yield
    except sqlite3.Error as error:
        if any(words in str(error) for words in BROKEN):
            raise Damaged(
                "The queue of writes to MLflow is damaged", where=file, cause=str(error),
                remedy=f"move the folder {file.parent.name} away: its writes can no longer be sent",
            ) from error
        raise ArtifactError(
            "Writes to MLflow cannot be queued", where=file, cause=str(error),
            remedy="free some space, or move the home folder with REVIEWLM_HOME",
        ) from error


def _copy(source: Path, target: Path, shared: bool) -> None:
    """Copy a file or folder; with *shared*, use hard links if possible, for files that never change."""
    how = link_or_copy if shared else shutil.copyfile
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, copy_function=how)
    else:
        how(str(source), str(target))


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Create a hard link to a file that never changes, or a copy if the disk has no links: weights can be large."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
