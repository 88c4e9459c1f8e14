"""Check the home folder: access, secrets, moves, interrupted work, queued writes and stored results.

Check that the remote store of results can be read and written.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from core.content_check import ContentCheck
from core.credentials import PASSWORD_FILE
from core.manifest import read_manifest
from core.store import ASIDE, MANIFEST, WORK
from core.storing.objects import NotThere, RemoteError
from core.storing.remote import PROBE, remote_store
from flows.server.tables import require_current_tables
from reviewlm.doctor.health_line import HealthLine

if TYPE_CHECKING:
    from core.config.run_config import RunConfig

LOOK_SECONDS = 3.0
"""Time for looking at stored results: a large store is looked at in part."""
SECRETS = (PASSWORD_FILE, "tokens.json", "mlflow.db", "store")
"""Parts of a home that other users should not read: passwords, reviews, personal data."""
NAMED = 3
"""Number of damaged results to name."""

CHECK = "remote store"


def check_access(config: RunConfig) -> Iterator[HealthLine]:
    """Check that the home folder and its store can be written, or created."""
    move = "give yourself write permission, or choose another folder with REVIEWLM_HOME"
    for folder in (config.home, config.home / "store"):
        nearest = next(at for at in (folder, *folder.parents) if os.path.lexists(at))
        if not nearest.is_dir():
            broken = "a link to nothing" if nearest.is_symlink() and not nearest.exists() else "a file"
            yield HealthLine("home", "problem", f"{nearest} is {broken}, not a folder", "move it aside")
            return
        if not os.access(nearest, os.W_OK | os.X_OK):
            yield HealthLine("home", "problem", f"{nearest} cannot be written to", move)
            return
        if os.statvfs(nearest).f_flag & os.ST_RDONLY:
            yield HealthLine("home", "problem", f"{nearest} is on a read-only disk", move)
            return
    state = "" if config.home.exists() else ", which the first command creates"
    yield HealthLine("home", "ok", f"{config.home}{state}")


def check_secrets(config: RunConfig) -> Iterator[HealthLine]:
    """Check that other users cannot read the password and the reviews."""
    home, group = config.home, config.execution.group_access
    closed = home.is_dir() and not _open_to_others(home, group)
    exposed = [] if closed else [name for name in SECRETS if _open_to_others(home / name, group)]
    if _open_to_others(home / PASSWORD_FILE, group=False):
        yield HealthLine(
            "secrets", "problem", f"other users may read {home / PASSWORD_FILE}",
            "delete it; `reviewlm services stop` and `reviewlm services start` make a new password",
        )
    if rest := [name for name in exposed if name != PASSWORD_FILE]:
        yield HealthLine(
            "secrets", "warning", f"other users may read {', '.join(rest)} in {home}",
            "chmod -R go-rwx on them",
        )
    elif not _open_to_others(home / PASSWORD_FILE, group=False):
        yield HealthLine("secrets", "ok", "only you may read passwords and reviews of this home")


def _open_to_others(path: Path, group: bool) -> bool:
    """Return whether others may read a file or folder; with *group*, the members of its group may."""
    try:
        return bool(stat.S_IMODE(path.stat().st_mode) & (0o007 if group else 0o077))
    except FileNotFoundError:
        return False


def check_upgrade(config: RunConfig) -> Iterator[HealthLine]:
    """Check that Prefect's tables are those of the installed version."""
    require_current_tables(config.home)
    yield HealthLine("upgrade", "ok", "Prefect's tables are current, or in another database")


def check_interrupted(config: RunConfig) -> Iterator[HealthLine]:
    """Count runs that killed processes left open, and unfinished results."""
    from tracking.runs.open_runs import open_locks

    left = open_locks(config.home, held=False)
    work = config.home / "store" / WORK
    unfinished = [path for path in (work.iterdir() if work.is_dir() else ()) if path.is_dir()]
    if left:
        yield HealthLine(
            "interrupted runs", "warning", f"killed processes left {len(left)} runs open in MLflow",
            "nothing to do: the next command that uses this home ends them",
        )
    else:
        unfinished_note = f"none; {len(unfinished)} unfinished results, from which runs go on" if unfinished else "none"
        yield HealthLine("interrupted runs", "ok", unfinished_note)


def check_queue(config: RunConfig) -> Iterator[HealthLine]:
    """Count runs that wait for MLflow, and parts of runs that it refused."""
    from core.errors import without_password
    from tracking.runs.record import waiting_runs

    stores = waiting_runs(config.home, without_password)
    waiting = [(store["store"], store["waiting"]) for store in stores if store["waiting"]]
    refused = sum(store["refused"] for store in stores)
    for store, count in waiting:
        yield HealthLine(
            "queued writes", "warning", f"{count} runs wait for {store}",
            "`reviewlm home sync` sends them, once MLflow answers",
        )
    if refused:
        yield HealthLine("queued writes", "warning", f"MLflow refused {refused} parts of runs",
                         "`reviewlm home sync` shows the stores; figures of these runs may be incomplete")
    if not waiting and not refused:
        yield HealthLine("queued writes", "ok", "none")


def check_results(config: RunConfig) -> Iterator[HealthLine]:
    """Compare names and sizes of stored results with their manifests."""
    root = config.home / "store"
    folders = (path for path in root.glob("[!.]*/*") if path.is_dir())
    until, looked, bad = time.monotonic() + LOOK_SECONDS, 0, []
    for folder in folders:
        looked += 1
        if fault := _fault_of(root, folder):
            bad.append(f"{folder.relative_to(root)} ({fault})")
        if time.monotonic() > until:
            break
    rest = sum(1 for _ in islice(folders, 100_000))
    if bad:
        yield HealthLine(
            "stored results", "problem", f"{len(bad)} are damaged: {'; '.join(bad[:NAMED])}"
            + (" …" if len(bad) > NAMED else ""),
            f"run the pipeline again with the same settings: it moves them to {ASIDE} and builds them again; "
            "if it happens again, check the disk",
        )
    else:
        part = f", {rest} more were not looked at" if rest else ""
        yield HealthLine("stored results", "ok", f"{looked} have the right names and sizes{part}")


def _fault_of(root: Path, folder: Path) -> str:
    """Return what is wrong with a result, as far as names and sizes show it; "" if nothing is."""
    try:
        bad = ContentCheck(root).wrong_size(folder, read_manifest(folder / MANIFEST)["files"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return "" if not folder.exists() else f"{MANIFEST}: {type(error).__name__}"  # a run may just have moved it
    return f"{bad.name} is {bad.state}" if bad else ""


def check_remote_store(config: RunConfig) -> Iterator[HealthLine]:
    """Look for an object, and write it."""
    if (remote := remote_store(config.execution.remote_store)) is None:
        return
    try:
        remote.objects.exists(PROBE)
    except RemoteError as error:
        yield HealthLine(CHECK, "problem", f"{remote.address} cannot be read: {error}",
                         "correct execution.remote_store, or the credentials and AWS_ENDPOINT_URL in the environment; "
                         "until then, runs build all results here")  # fmt: skip
        return
    try:
        remote.objects.write(PROBE, b"Written by `reviewlm doctor`.\n")
    except RemoteError as error:
        missing = isinstance(error, NotThere)
        yield HealthLine(CHECK, "problem" if missing else "warning", f"{remote.address} cannot be written: {error}",
                         "create the bucket" if missing else
                         "nothing to do if this machine is only to read; otherwise give it permission")  # fmt: skip
        return
    yield HealthLine(CHECK, "ok", f"{remote.address} can be read and written")
