"""Keep the home folder readable by its owner only: it holds reviews, personal data in quarantine, and a password.

New files follow the umask of the process, which child processes inherit. The permissions of existing files are
corrected at every start: each entry of the home folder is checked, and an entry that is too open is corrected with
everything below it.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

PRIVATE = ("ui-password",)
"""Left unchanged: a password that others could read is refused, not hidden (see `core/credentials.py`)."""
OURS = frozenset({
    *PRIVATE, "store", "prefect", "mlflow.db", "mlflow.db-wal", "mlflow.db-shm", "mlflow.db-journal", "mlartifacts",
    "logs", "services.json", "services.json.new", "reports", "comparisons", "replays", "sweeps", "outbox", "crashes",
    "running", "registry.lock", "mlflow.db.lock", "home.json", "home.lock", "moved", "ports.json",
    "deployed", "deployments.json", "tokens.json", "alerts.json",
})  # fmt: skip
"""Contents of a home folder. A folder that contains anything else is not only a home and keeps its own permissions."""
log = logging.getLogger(__name__)


def make_private(group: bool = False) -> None:
    """Let only the owner, or with *group* also the group, use all files and folders that this process makes."""
    os.umask(0o007 if group else 0o077)


def restrict(home: Path, group: bool = False) -> None:
    """Let only the owner read and write the home folder and all files made from now on.

    Args:
        home: The folder; it must exist.
        group: Give the folder's group the same rights as the owner.
    """
    make_private(group)
    entries = sorted(home.iterdir())
    mine = [path for path in entries if path.name in OURS and path.name not in PRIVATE]
    changed = sum(_mend(path, group) for path in mine)
    if all(path.name in OURS or path.name.startswith(".") for path in entries) and not home.samefile(Path.home()):
        changed += _set_mode(home, group)
    if changed:
        who = "its owner and group" if group else "its owner"
        log.info("the home folder %s is now open to %s only: %d permissions changed", home, who, changed)


def _mend(path: Path, group: bool) -> int:
    """Correct the permissions of an entry and, if they were wrong, of everything below it; return how many changed."""
    if not _set_mode(path, group):
        return 0
    return 1 + sum(_set_mode(below, group) for below in _below(path))


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):  # does not follow links
        yield from (Path(place, name) for name in (*folders, *files))


def _set_mode(path: Path, group: bool) -> bool:
    """Remove the rights of others, or with *group* copy the owner's to the group; return whether the mode changed."""
    try:
        about = path.lstat()
        foreign = os.geteuid() not in (0, about.st_uid)
        if foreign or not (stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode)) or about.st_mode & stat.S_ISVTX:
            return False
        mode = stat.S_IMODE(about.st_mode)
        wanted = mode & 0o700
        if group:  # new files in a folder with this bit belong to the folder's group
            wanted |= wanted >> 3 | (stat.S_ISGID if stat.S_ISDIR(about.st_mode) else 0)
        if mode == wanted:
            return False
        path.chmod(wanted)
    except OSError as error:  # deleted meanwhile, or a file system without permissions
        log.debug("permissions of %s stay: %s", path, error)
        return False
    return True
