"""Check the home folder: access, secrets, tables of Prefect, and writes to MLflow."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from core.credentials import PASSWORD_FILE
from core.errors import without_password
from flows.server.tables import require_current_tables
from reviewlm.doctor.machine import HealthLine

if TYPE_CHECKING:
    from core.config.run_config import RunConfig

SECRETS = ("tokens.json", "mlflow.db", "store")
"""Parts of a home that other users should not read: passwords, reviews, personal data."""


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
    if _open_to_others(home / PASSWORD_FILE, group=False):
        yield HealthLine(
            "secrets", "problem", f"other users may read {home / PASSWORD_FILE}",
            "delete it; `reviewlm services stop` and `reviewlm services start` make a new password",
        )
    elif exposed := [name for name in SECRETS if not closed and _open_to_others(home / name, group)]:
        found = f"other users may read {', '.join(exposed)} in {home}"
        yield HealthLine("secrets", "warning", found, "chmod -R go-rwx on them")
    else:
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


def check_writes(config: RunConfig) -> Iterator[HealthLine]:
    """Count runs that killed processes left open, runs that wait for MLflow, and parts of runs that it refused."""
    from tracking.runs.record import open_locks, waiting_runs

    name, lines = "writes to MLflow", list[HealthLine]()
    if left := len(open_locks(config.home, held=False)):
        lines.append(HealthLine(name, "warning", f"killed processes left {left} runs open",
                                "nothing to do: the next command that uses this home ends them"))  # fmt: skip
    for row in waiting_runs(config.home, without_password):
        found = f"{row['waiting']} runs wait for {row['store']}, {row['refused']} parts of runs were refused"
        lines.append(HealthLine(name, "warning", found, "`reviewlm home sync` sends them, once MLflow answers"))
    yield from lines or [HealthLine(name, "ok", "nothing waits, no run was left open")]
