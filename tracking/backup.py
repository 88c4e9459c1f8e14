"""Back up, restore and upgrade a home folder.

A backup is a tar of the databases, copied through SQLite's backup function, and of all other files. Its last member,
the manifest, has the SHA-256 of all others: an archive without it was cut off. A restored folder appears only after
every file has matched its checksum.

An upgrade backs the home up, then migrates the databases of MLflow and Prefect. Migrations are slow and not always one
transaction, so they work on copies. A migrated copy takes the place of its database in one transaction of SQLite's (a
renamed file would meet the log that a killed process left beside the original). An upgrade that fails or is killed
leaves each database as it was or migrated; repeat it.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tarfile import TarFile
from typing import IO, Any

from reviewlm.core.environment import make_private
from reviewlm.core.errors import (
    ArtifactError,
    ConfigError,
    Damaged,
    EmptyInput,
    Unreadable,
    disk_errors,
)
from reviewlm.core.home_format import FORMAT
from reviewlm.core.manifest import differing_files
from reviewlm.core.output import require_folder, require_output
from reviewlm.core.processes.children import run_child
from reviewlm.core.processes.leftovers import claimed_folder, remove_abandoned_folders
from reviewlm.core.services import service_list
from reviewlm.core.sqlite_files import DATABASE, damage_of, read_only
from reviewlm.core.store import MANIFEST as RESULT
from reviewlm.core.table_revisions import LibraryTables, stored_revision
from reviewlm.tracking.database import tables_of
from reviewlm.tracking.runs.record import open_locks

ENDINGS = (".tar", ".tar.gz")
MANIFEST = "reviewlm-backup.json"
LARGEST_MANIFEST = 1 << 29
"""Bytes, some three million files: the manifest of an archive from elsewhere must not fill the memory."""
LEVEL = 1
"""Of gzip: weights and Parquet become hardly smaller with a higher one, which takes several times as long."""
LOCK_SECONDS = 30.0
SCRATCH = ".reviewlm-backup-"
OWNER_ONLY = 0o600
BLOCK = 1 << 20
Report = Callable[[int], object]
"""Called with the bytes that are done, after each file."""

BESIDE = ("-wal", "-shm", "-journal")
"""Endings of the files that SQLite keeps beside a database; the copy of the database contains what is in them."""
LEFT_OUT = ("services.json",)
"""Process ids of this machine."""
UNFINISHED = (".lock", ".part", ".new")
SQLITE = b"SQLite format 3\x00"
STORE = "store"
PREFECT_DATABASE = Path("prefect", "prefect.db")
OF_NAMES = (
    errno.EEXIST,
    errno.EINVAL,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ENOTEMPTY,
)
"""What the operating system says of names in an archive that cannot be files of one folder."""

UPGRADE_BACKUP = "{home}-before-upgrade-{time}.tar.gz"
COPIES = ".upgrade-"
NONE = LibraryTables("Prefect", Path(), lambda file: ((), {}))
LINES = 8
MIGRATION_SECONDS = 86_400.0
"""Seconds for a migration, which may rewrite gigabytes."""
PATIENCE = 60.0
"""Seconds to wait for a process that reads or writes the original."""


def write_backup(
    home: Path,
    to: Path,
    without_store: bool = False,
    report: Report = lambda done: None,
) -> dict[str, Any]:
    """Write a backup of a home folder; runs may go on meanwhile. The file appears when it is complete.

    Args:
        home: The home folder.
        to: The archive, packed if its name ends with .gz. Only its owner may read it.
        without_store: Leave out results that can be computed again.
        report: Called after each file.

    Returns:
        file, bytes (of the archive), files, content_bytes, databases.

    Raises:
        ConfigError: The name has another ending, or is in the home folder.
        EmptyInput: There is no home folder.
        Damaged: A database is damaged.
        StoreFull, NotWritable: The disk.
    """
    _require_home_and_place(home, to)
    entries: dict[str, dict[str, Any]] = {}
    with _scratch(to.resolve()) as (file, scratch):
        members: dict[Path, Path] = {}
        for database in contents_of(home, without_store)[0]:
            copy_database(database, copy := scratch / f"{len(members)}.db")
            members[database] = copy
        databases = len(members)
        # listed now: all that the copied databases name is there
        members |= {path: path for path in contents_of(home, without_store)[1]}
        done = 0
        packed = to.suffix == ".gz"
        with (
            TarFile.gzopen("", "w", file, LEVEL)
            if packed
            else TarFile.taropen("", "w", file) as tar
        ):
            for path, source in members.items():
                name = path.relative_to(home).as_posix()
                entry = _add(tar, source, name)
                if entry is not None:
                    entries[name] = entry
                    report(done := done + entry["bytes"])
            _add_manifest(tar, home, without_store, entries)

    return {
        "file": str(to),
        "bytes": to.stat().st_size,
        "files": len(entries),
        "content_bytes": done,
        "databases": databases,
    }


def _require_home_and_place(home: Path, to: Path) -> None:
    if not to.name.endswith(ENDINGS):
        raise ConfigError(
            "The name of a backup ends with .tar or .tar.gz",
            where="--to",
            value=to,
            remedy=f"for example {to.name}.tar.gz",
        )

    if not home.is_dir() or not any(home.iterdir()):
        raise EmptyInput(
            "There is no home folder to back up", where=home, remedy="set REVIEWLM_HOME"
        )

    if to.resolve().is_relative_to(home.resolve()):
        raise ConfigError(
            "A backup cannot be in the folder that it is of",
            where="--to",
            value=to,
            remedy="name a file in another folder, best on another disk",
        )

    require_output(to, "--to")


def _add_manifest(
    tar: TarFile,
    home: Path,
    without_store: bool,
    entries: dict[str, dict[str, Any]],
) -> None:
    """Add the list of the files, by which a restored home folder is checked, to the end of an archive."""
    facts = {
        "format": FORMAT,
        "created": time.time(),
        "home": str(home),
        "without_store": without_store,
    }
    text = json.dumps({**facts, "files": entries}, indent=1).encode()
    tar.addfile(_member(MANIFEST, len(text), time.time()), io.BytesIO(text))


@contextmanager
def _scratch(archive: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """Yield the file that becomes the archive, and a scratch folder; remove those of backups that were killed."""
    with disk_errors(archive.parent):
        remove_abandoned_folders(archive.parent, SCRATCH)
        folder, owner = claimed_folder(archive.parent, SCRATCH)
        try:
            part = folder / archive.name
            with os.fdopen(
                os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY), "wb"
            ) as file:
                yield file, folder
                file.flush()
                os.fsync(file.fileno())

            part.replace(archive)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(owner)


class _Hashed:
    """Hashes what an archive reads from a file: a process may write into it meanwhile."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        block = self.file.read(size)
        self.digest.update(block)
        return block


def _add(
    tar: TarFile,
    path: Path,
    name: str,
) -> dict[str, Any] | None:
    """Add a file, as long as it is now (a log may grow), and return its entry; None if it was removed meanwhile."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    with file:
        about = os.fstat(file.fileno())
        tar.addfile(_member(name, about.st_size, about.st_mtime), hashed := _Hashed(file))  # type: ignore[arg-type]
    return {"bytes": about.st_size, "sha256": hashed.digest.hexdigest()}


def _member(
    name: str,
    size: int,
    changed: float,
) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mtime = int(changed)
    member.mode = OWNER_ONLY
    return member


def copy_database(database: Path, copy: Path) -> None:
    """Copy a SQLite database that others may be writing, and check the copy.

    Raises:
        Damaged: It is damaged.
    """
    try:
        with read_only(database, LOCK_SECONDS) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
        damage = damage_of(copy)
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise OSError(errno.ENOSPC, str(error), str(copy)) from error
        damage = str(error)

    if damage:
        raise Damaged(
            "A database cannot be copied",
            where=database,
            cause=damage,
            remedy="restore it from an earlier backup, or move it aside (docs/runbook/home.md)",
        )


def contents_of(home: Path, without_store: bool = False) -> tuple[list[Path], list[Path]]:
    """Return the databases (`*.db`) and all other files to back up; with *without_store*, not what can be made again.

    Left out: links, unfinished and damaged results, records of file states, locks, marks of running processes.
    """
    store = home / STORE
    databases: list[Path] = []
    files: list[Path] = []
    for place, folders, names in os.walk(home):
        folder = Path(place)
        top = Path(place) in (home, store)
        if folder.parent.parent == store and not (folder / RESULT).is_file():
            # No whole result.
            folders.clear()
            names = []

        folders[:] = sorted(name for name in folders if not (top and name.startswith(".")))
        if folder == home and without_store and STORE in folders:
            folders.remove(STORE)
        for name in sorted(names):
            path = folder / name
            hidden = folder == home and (name in LEFT_OUT or name.startswith("."))
            if path.is_file() and not (path.is_symlink() or hidden or name.endswith(UNFINISHED)):
                (databases if _is_database(path) else files).append(path)

    beside = {f"{database}{ending}" for database in databases for ending in BESIDE}
    return databases, [path for path in files if str(path) not in beside]


def _is_database(path: Path) -> bool:
    """Return whether a file is a SQLite database, by its name and first bytes; other files have this name, too."""
    if path.suffix != ".db":
        return False
    with path.open("rb") as file:
        return file.read(len(SQLITE)) == SQLITE


def restore_backup(
    archive: Path,
    home: Path,
    report: Report = lambda done: None,
) -> dict[str, Any]:
    """Unpack a backup beside *home*, compare every file with the manifest, and rename the folder to *home*.

    Args:
        archive: Written by `write_backup`.
        home: A folder that does not exist or is empty.
        report: As of `write_backup`.

    Returns:
        home, files, content_bytes, former (the path of the home that was backed up), without_store, runs_commands
        (whether it has a database of Prefect, whose deployments say which commands a worker runs).

    Raises:
        ConfigError: The folder is not empty.
        Unreadable: It is no whole backup, or a name in it leads out of the folder.
        Damaged: A file differs from its checksum.
        StoreFull, NotWritable: The disk.
    """
    make_private()  # folders too are for their owner only
    home = home.absolute()
    if os.path.lexists(home) and (home.is_symlink() or not home.is_dir() or any(home.iterdir())):
        raise ConfigError(
            "A backup is restored into an empty or new folder only",
            where="--home",
            value=home,
            remedy="name another folder, or move this one away",
        )

    try:
        packed = archive.open("rb")
    except OSError as error:
        raise Unreadable("The backup cannot be read", where=archive, cause=str(error)) from error

    require_folder(home.parent, "--home")
    with packed, disk_errors(home.parent, "name another folder"):
        scratch = Path(tempfile.mkdtemp(prefix=f".{home.name}-restored-", dir=home.parent))
        try:
            facts = _unpack(packed, archive, scratch, report)
            os.sync()
            scratch.rename(home)  # an empty folder with this name is replaced
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    return {
        "home": str(home),
        **facts,
        "runs_commands": (home / PREFECT_DATABASE).exists(),
    }


def _unpack(
    packed: IO[bytes],
    archive: Path,
    folder: Path,
    report: Report,
) -> dict[str, Any]:
    """Unpack all files of an archive, compare them with its manifest, and return facts about it.

    Whoever made an archive that Python or the operating system refuses (names that are too long or are a file and a
    folder, numbers out of range, text that is none) has not made it with `reviewlm home backup`.
    """
    try:
        manifest = None
        names: set[str] = set()
        done = 0
        with tarfile.open(
            fileobj=packed,
            mode="r|*",
            bufsize=BLOCK,
        ) as tar:
            for member in tar:
                if manifest is not None:
                    raise ValueError(f"{member.name!r} follows the manifest")
                if member.name == MANIFEST:
                    if member.size > LARGEST_MANIFEST:
                        raise ValueError(f"its manifest has {member.size:,} bytes")
                    manifest = json.load(tar.extractfile(member) or io.BytesIO())
                    continue
                safe = (
                    tarfile.data_filter(member, str(folder)).name == member.name
                    and "\\" not in member.name
                )
                if not safe or not member.isreg() or member.issparse() or member.name in names:
                    raise ValueError(f"{member.name[:200]!r} is no new file in the folder")
                tar.extract(member, folder, set_attrs=False, filter="data")
                names.add(member.name)
                report(done := done + member.size)
        if manifest is None or manifest["format"] != FORMAT:
            raise ValueError(
                f"it has no manifest of format {FORMAT} at its end: it was cut off, or another version made it"
            )
        listed = manifest["files"]
        wrong = dict.fromkeys(listed.keys() ^ names, "in the archive or its manifest alone")
        wrong = wrong or differing_files(folder, listed)
        facts = {
            "files": len(names),
            "content_bytes": done,
            "former": str(manifest["home"]),
            "without_store": bool(manifest["without_store"]),
        }
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None and error.errno not in OF_NAMES:
            raise  # of the disk
        raise Unreadable(
            "This is not a whole backup of reviewlm",
            where=archive,
            cause=f"{type(error).__name__}: {error}",
            remedy="use another backup; a copy that was cut off has another size than its original",
        ) from error

    for name, state in wrong.items():
        raise Damaged(
            "A file of the backup is damaged",
            where=f"{archive}: {name}",
            cause=f"it is {state}",
            remedy="use another backup; nothing was restored",
        )

    return facts


def upgrade_home(
    home: Path,
    to: Path | None = None,
    report: Report = lambda done: None,
    prefect: LibraryTables = NONE,
) -> dict[str, Any]:
    """Back up a home folder and migrate its databases; do nothing if all tables are current.

    Args:
        home: The home folder. Nothing may use it meanwhile.
        to: The archive of the backup; default: beside the home, with the time in its name.
        report: As of `write_backup`.
        prefect: Prefect's tables in the home.

    Returns:
        upgraded (whether tables were migrated), before and after (revisions of MLflow's), prefect_before and
        prefect_after, backup (the archive; empty if nothing was done).

    Raises:
        ConfigError: Services or commands use the home, or have used it during the upgrade.
        ArtifactError: A database is of a newer or another program, or its migration failed: nothing was changed.
        Damaged: A database is damaged.
    """
    mlflow = tables_of(home / DATABASE)
    backup = ""
    if older := [tables for tables in (mlflow, prefect) if tables.older]:
        running = [service.name for service in service_list.running(home)]
        if running or open_locks(home, held=True):
            raise _in_use(home, ", ".join(running) or "a command runs")
        archive = to or home.with_name(
            UPGRADE_BACKUP.format(home=home.name, time=f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}")
        )
        backup = write_backup(home, archive.absolute(), without_store=True, report=report)["file"]
        for left in home.glob(f"{COPIES}*"):  # of an upgrade that was killed
            shutil.rmtree(left, ignore_errors=True)
        migrate(older, home, backup)

    now = [stored_revision(one.file) if one.stored else "" for one in (mlflow, prefect)]
    return {
        "upgraded": bool(older),
        "before": mlflow.stored,
        "after": now[0],
        "prefect_before": prefect.stored,
        "prefect_after": now[1],
        "backup": backup,
    }


def migrate(
    older: Sequence[LibraryTables],
    folder: Path,
    backup: str,
) -> None:
    """Migrate copies of all databases, and only then put them in the place of the originals.

    Args:
        older: The databases.
        folder: For the copies.
        backup: The archive that the message about a failure names.

    Raises:
        ArtifactError: A migration failed; nothing was changed.
        ConfigError: Another process wrote into an original meanwhile, or locks it.
        Damaged: A database is damaged.
    """
    with ExitStack() as copies:
        migrated = []
        for tables in older:
            place = copies.enter_context(tempfile.TemporaryDirectory(prefix=COPIES, dir=folder))
            original = copies.enter_context(closing(sqlite3.connect(tables.file, timeout=PATIENCE)))
            migrated.append(
                (tables, original, _changes(original), _migrated_copy(tables, Path(place), backup))
            )
        for copied in migrated:
            _put_back(*copied)


def _migrated_copy(
    tables: LibraryTables,
    folder: Path,
    backup: str,
) -> Path:
    copy = folder / tables.file.name
    copy_database(tables.file, copy)
    program, environment = tables.migration(copy)
    done = run_child(program, MIGRATION_SECONDS, env=dict(environment))
    after = stored_revision(copy)
    if done.returncode or after != tables.installed:
        output = "\n".join((done.stdout + done.stderr).splitlines()[-LINES:])
        raise ArtifactError(
            f"{tables.library} could not migrate its database",
            where=tables.file,
            cause=output,
            value=f"tables of revision {after}",
            remedy="it is as it was: the release before works with it; or "
            f"`reviewlm home restore {backup} --home NEW_FOLDER`",
        )

    return copy


def _put_back(
    tables: LibraryTables,
    original: sqlite3.Connection,
    before: int,
    copy: Path,
) -> None:
    """Write a migrated copy over the original, unless another process has changed it since *before*, or locks it."""
    until = time.monotonic() + PATIENCE

    def require_free(
        status: int,
        remaining: int,
        total: int,
    ) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > until:
            raise _in_use(tables.file, "it is locked")

    try:
        if _changes(original) != before:
            raise _in_use(tables.file, "it was written to during the upgrade")
        with closing(sqlite3.connect(copy)) as migrated:
            migrated.backup(original, progress=require_free)
    except sqlite3.Error as error:
        raise ArtifactError(
            f"{tables.library}'s migrated tables cannot be written",
            where=tables.file,
            cause=str(error),
            remedy="mend that, e.g. free some space; then `reviewlm home upgrade` again",
        ) from error


def _changes(database: sqlite3.Connection) -> int:
    """Return a number that changes when another connection writes."""
    return int(database.execute("PRAGMA data_version").fetchone()[0])


def _in_use(where: Path, cause: str) -> ConfigError:
    return ConfigError(
        "The home folder is in use",
        where=where,
        cause=cause,
        remedy="end what uses it (`reviewlm services stop`), then `reviewlm home upgrade` again",
    )
