"""Bring a home folder to the installed version: back it up, then let MLflow migrate its tables.

MLflow says that its migrations are slow and not always one transaction, so there is no upgrade without a backup.
Prefect migrates its own database when its server starts, so a backup is made before that, too. Everything else in the
home is read in its older forms.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.errors import ArtifactError, ConfigError
from core.services import service_list
from core.storing.migrations import Revisions
from tracking.backup.write import write_backup
from tracking.database import head_revision, is_ready, revision_of
from tracking.moved_home import DATABASE
from tracking.runs.open_runs import marks_of

BACKUP = "{home}-before-upgrade-{time}.tar.zst"
LINES = 8


def upgrade_home(
    home: Path, to: Path | None = None, report: Callable[[int, int], object] = lambda done, of: None,
    prefect: Revisions = Revisions(),
) -> dict[str, Any]:  # fmt: skip
    """Back up a home folder and migrate its MLflow database; do nothing if all tables are current.

    Args:
        home: The home folder. Nothing may use it meanwhile.
        to: The archive of the backup; default: beside the home, with the time in its name.
        report: Called with the bytes of the backup that are done, and all.
        prefect: Revisions of Prefect's tables in the home. If they differ, the home is backed up; Prefect's server
            migrates them at its next start.

    Returns:
        upgraded (whether MLflow's tables were migrated), before and after (their revisions), prefect_migrates (whether
        its server will), backup (the archive; empty if nothing was done).

    Raises:
        ConfigError: Services or commands use the home.
        ArtifactError: The database is of a newer or another program, or the migration failed.
        Damaged: The database is damaged.
    """
    file = home / DATABASE
    before = revision_of(file) if is_ready(file) else ""
    older = bool(before) and before != head_revision()
    same = {"upgraded": False, "before": before, "after": before, "prefect_migrates": prefect.differ}
    if not older and not prefect.differ:
        return {**same, "backup": ""}
    _require_unused(home)
    archive = to or home.with_name(BACKUP.format(home=home.name, time=time.strftime("%Y%m%d-%H%M%S")))
    write_backup(home, archive, without_store=True, report=report)
    if not older:
        return {**same, "backup": str(archive)}
    command = [sys.executable, "-m", "mlflow", "db", "upgrade", f"sqlite:///{file}"]
    done = subprocess.run(command, capture_output=True, text=True)
    after = revision_of(file)
    if done.returncode or after != head_revision():
        raise ArtifactError(
            "MLflow could not migrate its database", where=file, value=f"tables of revision {after}",
            cause="\n".join((done.stdout + done.stderr).splitlines()[-LINES:]),
            remedy=f"go back to the release before: reviewlm restore {archive} --home FOLDER",
        )
    return {**same, "upgraded": True, "after": after, "backup": str(archive)}


def _require_unused(home: Path) -> None:
    running = [service.name for service in service_list.running(home)]
    if running or any(marks_of(home).glob("*")):
        raise ConfigError(
            "The home folder is in use", where=home, value=", ".join(running) or "a command runs, or was killed",
            remedy="`make down`, and wait for the commands; `reviewlm doctor` names what a killed command left",
        )
