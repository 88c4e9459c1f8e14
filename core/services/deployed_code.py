"""Keep a copy of the code that deployments are made with, so that an edit of the project changes no scheduled run.

`services start` copies the product's files into `HOME/deployed/DIGEST` and names the copy in each deployment
(`prefect.yaml`). Before a worker starts a run, it calls `use_deployed_code`, which checks the copy. Prefect then puts
the copy's folder first on the module path of the run's process and of all that it starts. Only this step is code of the
project as it is now. In an image, which is a copy by itself, no copy is named.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.environment import ROOMS, home_folder
from core.errors import Damaged, ReviewLMError, disk_errors
from core.provenance import DEPLOYED_RECORD, SOURCE, git_commit
from core.services.prefect_api import ask

FOLDER = "deployed"
COPIED = (*ROOMS, "config")
CACHE, COMPILED = "__pycache__", (".nbi", ".nbc")
"""Python's folder of compiled code; numba's files in it, which are copied to save seconds and are in no digest."""
COPY_VARIABLE, PLACE_VARIABLE = "REVIEWLM_COPY", "REVIEWLM_WORKING_FOLDER"
"""Names the copy to `prefect deploy`; tells a run the folder that relative paths of its parameters start from."""
DIGITS = 16
SECONDS, MOST = 60.0, 200
RUN_VARIABLE = "PREFECT__FLOW_RUN_ID"
AGAIN = "deploy again: `reviewlm services start` (or `make up`) on the worker's machine, also while services run"


def keep_code(home: Path, source: Path = SOURCE) -> Path:
    """Copy the product's files into the home, unless they are there, and return the copy.

    Its name is the digest of its files and their commit. A copy that was damaged is replaced.

    Args:
        source: Project that the files are copied from.
    """
    copies = home / FOLDER
    with disk_errors(copies):
        copies.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=copies))
        aside = new.with_name(f"{new.name}-damaged")
        try:
            for name in COPIED:
                if (source / name).is_dir():
                    shutil.copytree(source / name, new / name, ignore=_left_out)
            digests = {name: _digest(new / name) for name in sorted(_files(new))}
            text = json.dumps({"commit": git_commit(), "files": digests}, indent=0)
            (new / DEPLOYED_RECORD).write_text(text, encoding="utf-8")
            for name in (*digests, DEPLOYED_RECORD):
                (new / name).chmod(stat.S_IMODE((new / name).stat().st_mode) & ~0o222)
            copy = copies / hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
            if copy.is_dir() and problem_of(copy):
                copy.rename(aside)
            if not copy.is_dir():
                with suppress(OSError):  # another process has just made the same copy
                    new.rename(copy)
            os.utime(copy)  # see `use_deployed_code`
        finally:
            for folder in (new, aside):
                shutil.rmtree(folder, ignore_errors=True)
    return copy


def _left_out(folder: str, names: list[str]) -> set[str]:
    """Return the names that are not copied: compiled modules, and hidden files, such as those of editors."""
    if Path(folder).name == CACHE:
        return {name for name in names if not name.endswith(COMPILED)}
    return {name for name in names if name.startswith(".")}


def _files(copy: Path) -> Iterator[str]:
    """Yield the files of a copy, without its record and without compiled code."""
    for place, folders, files in os.walk(copy):
        folders[:] = [name for name in folders if name != CACHE]
        for name in files:
            if (path := Path(place, name).relative_to(copy).as_posix()) != DEPLOYED_RECORD:
                yield path


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def problem_of(copy: Path) -> str:
    """Return what is wrong with a copy, or "": every file is compared with the copy's name."""
    try:
        text = (copy / DEPLOYED_RECORD).read_bytes()
        if hashlib.sha256(text).hexdigest()[:DIGITS] != copy.name:
            return f"{DEPLOYED_RECORD} was changed"
        files: dict[str, str] = json.loads(text)["files"]
        wrong = sorted({*_files(copy)} ^ files.keys())
        wrong += [name for name in files if not wrong and _digest(copy / name) != files[name]]
    except OSError as error:
        return str(error)
    return f"{wrong[0]} was changed, removed or added" if wrong else ""


def use_deployed_code(project: str, code: str = "") -> dict[str, str]:
    """Let the run that a worker prepares in this process use a copy (pull step of `prefect.yaml`).

    Args:
        project: Folder in which the run works, and from which relative paths of its parameters start.
        code: Name of the copy; empty: the run uses the project as it is.

    Raises:
        Damaged: The copy is missing, or is not as it was made. The run has failed then, with this message.
    """
    os.environ[PLACE_VARIABLE] = project
    if not code:
        return {"directory": project}
    copy = home_folder() / FOLDER / code
    if problem := problem_of(copy):
        error = Damaged("The code of the deployment is missing or damaged", where=copy, cause=problem, remedy=AGAIN)
        _fail_run(error)
        raise error
    with suppress(OSError):
        os.utime(copy)  # `reviewlm home gc` keeps what a run may still use
    return {"directory": str(copy)}


def _fail_run(error: ReviewLMError) -> None:
    """Let the flow run fail with a message, which its page and alerts show. Without it they only name an exit code."""
    state = {"type": "FAILED", "name": "Failed", "message": str(error)}
    with suppress(OSError, ValueError, KeyError):
        path = f"/flow_runs/{os.environ[RUN_VARIABLE]}/set_state"
        ask(os.environ, "POST", path, {"state": state, "force": True}, SECONDS)


def enter_working_folder() -> bool:
    """Change into the folder of `use_deployed_code`; Prefect starts the run in that of the copy.

    Returns:
        Whether this is the process of a run that a worker prepared so; its children are none.
    """
    if folder := os.environ.pop(PLACE_VARIABLE, ""):
        os.chdir(folder)
    return bool(folder)


def copies_of(deployments: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the names of the copies that deployments use, as Prefect's server describes them."""
    steps = [values for one in deployments for step in one.get("pull_steps") or () for values in step.values()]
    return {values["code"] for values in steps if values.get("code")}


def unused_copies(home: Path, environment: Mapping[str, str]) -> list[Path]:
    """Return the copies that no deployment of the Prefect server names, and what a killed start left of others.

    If no server is named or answers, or it has no deployment with one of these copies, all may be used.
    """
    there = {folder.name: folder for folder in (home / FOLDER).glob("*")}
    named = set[str]()
    if there:
        with suppress(OSError, ValueError, KeyError):
            named = copies_of(deployments_on(environment))
    return [folder for name, folder in sorted(there.items()) if name not in named] if named & there.keys() else []


def deployments_on(environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the deployments of a Prefect server.

    Raises:
        OSError, ValueError, KeyError: No server is named, or it does not answer.
    """
    return list(ask(environment, "POST", "/deployments/filter", {"limit": MOST}, SECONDS))
