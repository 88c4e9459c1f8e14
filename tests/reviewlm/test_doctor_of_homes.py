"""`reviewlm doctor` on a home: its secrets, queued writes, and what was interrupted in it."""

from __future__ import annotations

import os
from pathlib import Path

from tests.reviewlm.examined_homes import only


def test_a_password_that_others_may_read_is_a_problem(own_home: Path) -> None:
    own_home.mkdir(mode=0o700)
    password = own_home / "ui-password"
    password.write_text("x" * 32)
    password.chmod(0o600)
    assert only("secrets").state == "ok"
    password.chmod(0o644)
    assert only("secrets").state == "problem"


def test_reviews_that_others_may_read_are_a_warning_unless_the_home_is_closed(
    own_home: Path,
) -> None:
    (own_home / "store").mkdir(parents=True, mode=0o755)
    (own_home / "store").chmod(0o755)
    own_home.chmod(0o755)
    assert (only("secrets").state, "store" in only("secrets").found) == ("warning", True)
    own_home.chmod(0o700)
    assert only("secrets").state == "ok"


def test_runs_that_wait_are_a_warning_that_names_their_store(own_home: Path) -> None:
    from reviewlm.tracking.runs.record import Record, remember_store
    from reviewlm.tracking.runs.runs import Tracker

    tracker = Tracker("http://mlflow.invalid:5000", "reviewlm", own_home / "mlartifacts")
    remember_store(tracker)
    tracker.records.write(Record("run", "reviewlm", "run", tags={"a": "b"}))
    line = only("writes to MLflow")
    assert (line.state, "1 runs wait for http://mlflow.invalid:5000" in line.found) == (
        "warning",
        True,
    )


def test_open_runs_of_killed_processes_are_only_a_warning(own_home: Path) -> None:
    from reviewlm.core.processes.leftovers import hold

    alive, dead = (own_home / "runs" / "home" / name / "open.lock" for name in ("alive", "dead"))
    for file in (alive, dead):
        file.parent.mkdir(parents=True)
    held = hold(alive)
    assert held is not None
    assert only("writes to MLflow").state == "ok"
    dead.touch()
    assert only("writes to MLflow").state == "warning"
    assert dead.exists()
    os.close(held)


def test_a_damaged_event_is_a_problem_until_the_aliases_were_recorded_after_it(
    migrated_home: Path,
) -> None:
    from reviewlm.core.config.presets import load_config
    from reviewlm.tasks.records.track import tracker_of
    from reviewlm.tracking.registry.decisions import EVENT_TAG
    from tests.tasks.upkeep.judged_versions import judged, registry

    config = load_config("small")
    judged(config, True, True)
    assert only("decision log").state == "ok"
    log = f"{registry(config).name}-decisions"
    tracker_of(config.workspace).client.set_model_version_tag(log, "2", EVENT_TAG, "{")
    assert only("decision log").state == "problem"
    registry(config).rollback(why="complaints")
    assert only("decision log").state == "warning"
