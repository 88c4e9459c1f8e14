"""A home with registered models is upgraded from older tables of MLflow and Prefect, by the libraries' own migrations.

The upgrade is killed in the midst of MLflow's migration first. Afterwards the aliases lead to the same versions, which
score as before, and the rows of Prefect's database are those of before, moved where its migrations move them.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from core.sqlite_files import stored_revision
from tests.flows.first_run import ROOT, answer, user_environment
from tests.marked_cases import long_but
from tests.tracking.older_databases import (
    KEPT,
    MIGRATED_LIMITS,
    make_mlflow_older,
    make_prefect_older,
    mlflow_revisions,
    prefect_rows,
)
from tests.tracking.tiny_model import fitted
from tracking.database import head_revision
from tracking.logged_models.bundles import log_bundle
from tracking.registry.decisions import complaints
from tracking.registry.opening import open_champion
from tracking.registry.registry import Registry
from tracking.runs.runs import Tracker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TEXT = "The soup was cold and the staff was friendly."
AGES = {"before the last": 1, "before review queues and servers of tools": 12, "before the first of MLflow 3": 37}
"""How many migrations are before us."""


def tracker_of(home: Path) -> Tracker:
    return Tracker(f"sqlite:///{home / 'mlflow.db'}", "reviewlm", home / "mlartifacts")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, template_home: Path) -> Path:
    """A home with a champion, the one before it and a challenger, and older tables of Prefect."""
    home = tmp_path_factory.mktemp("made") / "home"
    shutil.copytree(template_home, home)
    registry = Registry(tracker := tracker_of(home), "reviewlm")
    run_id = tracker.start_run("fits")
    tracker.log_metrics(run_id, {"test/perplexity": 12.5})
    for order in (1, 2, 3):
        address = log_bundle(tracker, run_id, fitted(home.with_name(f"order {order}"), order))
        registry.register(address, run_id, {"kind": "ngram"})
    tracker.end_run(run_id)
    registry.settle(1, None, True, "", {"gate/outcome": "promoted", "gate/reason": "the first"})
    registry.settle(2, 1, True, "", {"gate/outcome": "promoted", "gate/reason": "better"})
    make_prefect_older(home)
    return home.rename(home.with_name("kept"))  # else its copies would open the bundles here


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "home"))


def facts(home: Path) -> dict[str, Any]:
    """Return which versions the aliases lead to, what they score, and the log of decisions."""
    registry = Registry(tracker_of(home), "reviewlm")
    found: dict[str, Any] = {"events": [asdict(event) for event in registry.events()]}
    assert complaints(registry.events()) == []
    for alias in ("champion", "challenger", "previous"):
        bundle, version = open_champion(registry.tracker, f"models:/reviewlm@{alias}")
        found[alias] = (version.version, dict(version.tags), bundle.score_text(TEXT, 5).nats)
    found["run"] = registry.tracker.metrics(str(registry.tracker.find_run("mlflow.source.name", "reviewlm")))
    return found


def refused(home: Path, *words: str) -> str:
    """Run a command that must end with one error of exit code 5; return its message."""
    command = [sys.executable, "-m", "reviewlm.cli", *words, "--json"]
    done = subprocess.run(command, env=user_environment(home), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 5, done.stderr
    error = json.loads(done.stdout.splitlines()[-1])["error"]
    assert "`reviewlm home upgrade`" in error["remedy"]
    return str(error["what"])


def unlocked_revision(copy: Path) -> str:
    """Return the revision of a copy without a lock, which would end the upgrade: nobody else reads its copies."""
    with closing(sqlite3.connect(f"{copy.as_uri()}?immutable=1", uri=True)) as database:
        [[revision]] = database.execute("SELECT version_num FROM alembic_version").fetchall()
        return str(revision)


def kill_in_the_migration(home: Path, before: str) -> None:
    """Start an upgrade and kill it when the copy of MLflow's tables has changed."""
    command = [sys.executable, "-m", "reviewlm.cli", "home", "upgrade"]
    child = subprocess.Popen(command, env=user_environment(home), cwd=ROOT, stderr=subprocess.DEVNULL)
    while child.poll() is None:
        with suppress(sqlite3.Error):
            if any(unlocked_revision(copy) != before for copy in home.glob(".upgrade-*/mlflow.db")):
                break
        time.sleep(0.01)
    assert child.poll() is None, "it was faster than this test"
    child.kill()
    child.wait()


@pytest.mark.parametrize("age", long_but(AGES, ["before review queues and servers of tools"]))
def test_a_home_with_older_tables_is_whole_after_an_upgrade_that_was_killed_once(age: str, home: Path) -> None:
    before, revision = facts(home), mlflow_revisions()[AGES[age]]
    assert [before[alias][0] for alias in ("champion", "challenger", "previous")] == [2, 3, 1]
    make_mlflow_older(home, revision)
    assert "older MLflow" in refused(home, "history")
    assert stored_revision(home / "mlflow.db") == revision

    kill_in_the_migration(home, revision)
    assert (stored_revision(home / "mlflow.db"), stored_revision(home / "prefect" / "prefect.db")) == (
        revision, MIGRATED_LIMITS,
    )  # fmt: skip
    assert "older MLflow" in refused(home, "history")

    done = answer(home, "home", "upgrade")
    assert (done["upgraded"], done["before"], done["after"]) == (True, revision, head_revision())
    assert done["prefect_before"] == MIGRATED_LIMITS
    assert done["prefect_after"] not in ("", MIGRATED_LIMITS)
    assert facts(home) == before
    with closing(sqlite3.connect(home / "prefect" / "prefect.db")) as database:
        assert prefect_rows(lambda query: database.execute(query).fetchall()) == KEPT
    assert answer(home, "home", "upgrade")["backup"] == ""
