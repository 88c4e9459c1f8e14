"""Kill -9 of `home gc` before changes of files of a whole home: what is needed is whole, and the next one ends."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.tasks.upkeep.killed_collection import make, run

pytestmark = [pytest.mark.slow, pytest.mark.long]
POINTS = 5
Start = Callable[..., int]


@dataclass(frozen=True)
class Made:
    """A home before its collection.

    Args:
        home: Where it is collected: MLflow's addresses are absolute.
        saved: A copy.
        needed, gone: What must be whole at any time, and what an undisturbed collection removes; relative paths.
        left: The files that it leaves.
        changes: How often it changes files.
    """

    home: Path
    saved: Path
    needed: list[str]
    gone: list[str]
    left: set[str]
    changes: int

    def again(self) -> None:
        shutil.rmtree(self.home)
        shutil.copytree(self.saved, self.home, symlinks=True)


@pytest.fixture(scope="module")
def start() -> Start:
    """Run a function in a child, forked from a server that has everything imported; return the exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.tasks.upkeep.killed_collection"])

    def started(function: Callable[..., None], *arguments: Any) -> int:
        child = context.Process(target=function, args=arguments)
        child.start()
        child.join(180)
        assert child.exitcode is not None
        return child.exitcode

    return started


@pytest.fixture(scope="module")
def made(
    start: Start,
    template_home: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Made:
    place = tmp_path_factory.mktemp("collected")
    home, saved, said = place / "home", place / "saved", place / "said"
    shutil.copytree(template_home, home)
    assert start(make, str(home), str(said)) == 0
    paths = json.loads(said.read_text())
    shutil.copytree(home, saved, symlinks=True)
    assert start(run, str(home), 0, str(said)) == 0
    return Made(
        home,
        saved,
        paths["needed"],
        paths["gone"],
        files(home),
        json.loads(said.read_text()),
    )


def files(home: Path) -> set[str]:
    """Return the files of results, models, runs and reports."""
    folders = ("store/[!.]*/*", "mlartifacts", "reports")
    paths = (path for folder in folders for found in home.glob(folder) for path in found.rglob("*"))
    return {path.relative_to(home).as_posix() for path in paths if path.is_file()}


def contents(home: Path, name: str) -> dict[str, bytes]:
    path = home / name
    return {
        str(file.relative_to(home)): file.read_bytes()
        for file in (path, *path.rglob("*"))
        if file.is_file()
    }


def entries(home: Path) -> list[Any]:
    """Return the aliases and the runs that MLflow has."""
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        aliases = database.execute(
            "SELECT name, alias, version FROM registered_model_aliases ORDER BY alias"
        )
        return [
            *aliases.fetchall(),
            *database.execute("SELECT run_uuid, status FROM runs ORDER BY run_uuid"),
        ]


def require_needed(made: Made) -> None:
    for name in made.needed:
        assert (before := contents(made.saved, name))
        assert contents(made.home, name) == before, name
    assert entries(made.home) == entries(made.saved)


@pytest.mark.drill(
    "killed at any moment",
    "kill -9 of `reviewlm home gc` of a whole home, at five points",
    "all that is needed is whole; the next one completes it",
)
@pytest.mark.parametrize("point", range(1, POINTS + 1))
def test_a_collection_of_a_home_that_was_killed_is_completed_by_the_next(
    point: int,
    made: Made,
    start: Start,
) -> None:
    assert made.changes > 2 * POINTS
    made.again()
    fatal = made.changes * point // (POINTS + 1)
    assert start(run, str(made.home), fatal) == -signal.SIGKILL
    require_needed(made)
    assert start(run, str(made.home)) == 0
    require_needed(made)
    assert [name for name in made.gone if (made.home / name).exists()] == []
    assert files(made.home) == made.left
    assert not (made.home / "store" / ".trash").exists()
