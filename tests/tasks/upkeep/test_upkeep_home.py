"""A collection of a whole home folder: what goes and what stays beside the results, and what a dry run changes."""

from __future__ import annotations

import os
import shutil
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.errors import Damaged, TrackingUnavailable
from reviewlm.core.store import MANIFEST, Artifact, Store
from reviewlm.tasks.records.track import parent_run, tracker_of
from reviewlm.tasks.upkeep.collect import collect
from reviewlm.tracking.runs.runs import Tracker
from reviewlm.training.vectors.stored_rows import HEADER

DAY = 86_400 * 10**9
LONG_AGO = 10**9
LATER = time.time_ns() + 30 * DAY


@pytest.fixture
def config(migrated_home: Path) -> RunConfig:
    return load_config("small", ["upkeep.runs=1"])


def result(
    config: RunConfig,
    name: str,
    used: int = LONG_AGO,
    **inputs: str,
) -> Artifact:
    artifact = (
        Store.of(config.home)
        .build(
            "stage",
            1,
            {"name": name},
            inputs,
            lambda _: {},
        )
        .artifact
    )
    os.utime(artifact.folder / MANIFEST, ns=(used, used))
    return artifact


def run(config: RunConfig, name: str = "retrain") -> str:
    with parent_run(config, name) as run_id:
        return run_id


def collected(config: RunConfig, dry_run: bool = False) -> dict[str, Any]:
    return collect(config.workspace, config.upkeep, dry_run, now=LATER)


def test_results_from_before_the_newest_runs_go_except_the_inputs_of_others(
    config: RunConfig,
) -> None:
    old, source = result(config, "old"), result(config, "source")
    new = result(config, "new", time.time_ns(), source=source.digest)
    run(config)
    done = collected(config)
    assert [one.folder.is_dir() for one in (old, source, new)] == [False, True, True]
    [row] = [row for row in done["kinds"] if row["kind"] == "results"]
    assert (row["kept"], row["gone"]) == (2, 1)
    assert done["results_kept_because"] == {"input of a kept result": 1, "used by a recent run": 1}


def test_the_word_vectors_that_a_kept_network_started_from_stay(config: RunConfig) -> None:
    """A configuration names their folder; the rows that were made of them know only the file's SHA-256."""
    store, made = Store.of(config.home), []
    for name in ("used", "other"):

        def write(work: Path, name: str = name) -> dict[str, object]:
            (work / HEADER).write_text(name)
            return {}

        made.append(
            store.build(
                "embed",
                1,
                {"name": name},
                {},
                write,
            ).artifact
        )
    rows = store.build(
        "vectors",
        1,
        {},
        {"file": sha256(b"used").hexdigest()},
        lambda _: {},
    ).artifact
    for artifact, used in ((made[0], LONG_AGO), (made[1], LONG_AGO), (rows, time.time_ns())):
        os.utime(artifact.folder / MANIFEST, ns=(used, used))
    run(config)
    collected(config)
    assert [one.folder.is_dir() for one in (*made, rows)] == [True, False, True]


def test_nothing_goes_before_there_are_as_many_runs_as_are_kept(config: RunConfig) -> None:
    old = result(config, "old")
    run(config, "compare")  # makes nothing of its own, so it does not count
    assert collected(config)["notes"] == [
        "fewer than 1 runs have finished: all results count as recent"
    ]
    assert old.folder.is_dir()


def test_a_failed_run_does_not_push_a_good_one_out(config: RunConfig) -> None:
    _started(config, run(config), LONG_AGO + DAY)
    of_the_good_run, before = result(config, "new", LONG_AGO + DAY), result(config, "old", LONG_AGO)
    with pytest.raises(ValueError, match="nothing"), parent_run(config, "retrain"):
        raise ValueError("nothing works")
    collected(config)
    assert (of_the_good_run.folder.is_dir(), before.folder.is_dir()) == (True, False)


def test_what_was_used_within_a_day_stays(config: RunConfig) -> None:
    run(config)
    young, old = result(config, "young", LATER - DAY // 2), result(config, "old")
    collected(config)
    assert (young.folder.is_dir(), old.folder.is_dir()) == (True, False)


def test_what_was_used_since_a_run_in_progress_began_stays(config: RunConfig) -> None:
    run(config)
    open_run = tracker_of(config.workspace).start_run("retrain")
    _started(config, open_run, LONG_AGO + 2 * DAY)
    used, old = result(config, "used", LONG_AGO + 3 * DAY), result(config, "old", LONG_AGO)
    assert collected(config)["results_kept_because"] == {"used by a running run": 1}
    assert (used.folder.is_dir(), old.folder.is_dir()) == (True, False)
    tracker_of(config.workspace).end_run(open_run)
    collected(config)
    assert not used.folder.is_dir()


@pytest.fixture
def old_files(config: RunConfig) -> tuple[Path, Path]:
    """An old result and the old log of a crash."""
    old = result(config, "old")
    run(config)
    (config.home / "crashes").mkdir()
    crash = config.home / "crashes" / "reviewlm-x.log"
    crash.write_text("Traceback")
    os.utime(crash, ns=(LONG_AGO, LONG_AGO))
    return old.folder, crash


def test_a_dry_run_of_upkeep_changes_no_byte(
    config: RunConfig, old_files: tuple[Path, Path]
) -> None:
    before = _bytes(config.home)
    collected(config, dry_run=True)
    assert _bytes(config.home) == before
    assert old_files[0].is_dir()


def test_a_dry_run_of_upkeep_says_what_goes(
    config: RunConfig, old_files: tuple[Path, Path]
) -> None:
    planned = collected(config, dry_run=True)
    done = collected(config)
    assert planned["kinds"] == done["kinds"]
    assert not old_files[1].exists()


def test_what_old_runs_left_behind_goes_beside_the_work_of_people(config: RunConfig) -> None:
    old = result(config, "old")
    run(config)
    home, store = config.home, config.home / "store"
    gone = [
        home / "crashes" / "reviewlm-x.log",
        store / ".work" / "once-0123" / "part",
        store / ".aside" / f"fit-0123-{LONG_AGO}" / "data",
        home / "reports" / "a" / "report.html",
    ]
    stays = [
        home / "runs" / "home" / "r" / "record.json",
        home / "sweeps" / "x" / "db",
        home / "comparisons" / "a.md",
        home / "ui-password",
        store / ".files" / "x",
    ]
    for file in (*gone, *stays):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")
        for path in (file, file.parent):
            os.utime(path, ns=(LONG_AGO, LONG_AGO))
    collected(config)
    assert not any(file.exists() for file in gone)
    assert all(file.exists() for file in stays)
    assert not old.folder.exists()
    assert not (store / ".trash").exists()


@pytest.fixture
def ended_runs(config: RunConfig) -> tuple[str, str]:
    """MLflow's old runs of a fit that was killed and of one that has finished."""
    tracker = tracker_of(config.workspace)
    killed, good = tracker.start_run("a fit"), tracker.start_run("another fit")
    for run_id, status in ((killed, "KILLED"), (good, "FINISHED")):
        tracker.log_metrics(run_id, {"nats": 2.5})
        tracker.log_text(run_id, "many words", "note.txt")
        tracker.end_run(run_id, status)
        _started(config, run_id, LONG_AGO)
    run(config)
    return killed, good


def test_only_the_files_of_killed_runs_go(config: RunConfig, ended_runs: tuple[str, str]) -> None:
    collected(config)
    tracker = tracker_of(config.workspace)
    assert [_files(tracker, run_id) for run_id in ended_runs] == [[], ["note.txt"]]


def test_the_metrics_of_killed_runs_stay(config: RunConfig, ended_runs: tuple[str, str]) -> None:
    collected(config)
    assert tracker_of(config.workspace).metrics(ended_runs[0]) == {"nats": 2.5}


def test_reports_stay_that_are_newest_or_of_a_recent_run(config: RunConfig) -> None:
    reports = config.home / "reports"
    for name, changed in (("old", LONG_AGO), ("recent", time.time_ns())):
        (reports / name).mkdir(parents=True)
        (reports / name / "report.html").write_text("<p>")
        os.utime(reports / name / "report.html", ns=(changed, changed))
    run(config)
    collected(config)
    assert sorted(path.name for path in reports.iterdir() if path.is_dir()) == ["recent"]


def test_versions_in_another_store_are_needed_too(
    config: RunConfig,
    tmp_path: Path,
    template_home: Path,
) -> None:
    """A run with its own `execution.tracking_uri` registered a version; the collection has the default settings."""
    shutil.copytree(template_home, tmp_path / "other")
    other = load_config(
        "small", [f"execution.tracking_uri=sqlite:///{tmp_path / 'other' / 'mlflow.db'}"]
    )
    data, old = result(config, "data"), result(config, "old")
    version = tracker_of(other.workspace).start_run("a fit")
    with tracker_of(other.workspace).reaching() as client:
        client.create_registered_model("reviewlm")
        entry = client.create_model_version(
            "reviewlm", "nowhere", version, tags={"data": data.digest}
        )
        client.set_registered_model_alias("reviewlm", "champion", entry.version)
    tracker_of(other.workspace).end_run(version)
    prepared = config.home / "store" / "prepare" / data.digest
    prepared.parent.mkdir()
    data.folder.rename(prepared)
    run(config)
    collected(config)
    assert (prepared.is_dir(), old.folder.is_dir()) == (True, False)


def test_nothing_goes_if_the_record_of_a_kept_version_was_changed(config: RunConfig) -> None:
    old, tracker = result(config, "old"), tracker_of(config.workspace)
    run_id = run(config)
    artifacts = tracker.artifact_root / "models" / "m-1" / "artifacts"
    bundle = artifacts / "artifacts" / "bundle"
    bundle.mkdir(parents=True)
    (bundle / "spec.json").write_text("{}")
    (artifacts / "lineage.json").write_text('{"format": 1, "checksum": "of something else"}')
    with tracker.reaching() as client:
        client.create_registered_model("reviewlm")
        client.create_model_version("reviewlm", str(artifacts), run_id)
    with pytest.raises(Damaged):
        collected(config)
    assert old.folder.is_dir()


@pytest.mark.slow
def test_nothing_goes_if_a_store_with_versions_does_not_answer(config: RunConfig) -> None:
    old = result(config, "old")
    run(config)
    (config.home / "runs" / "0123").mkdir(parents=True)
    (config.home / "runs" / "0123" / "address").write_text("http://127.0.0.1:9/")
    with pytest.raises(TrackingUnavailable):
        collected(config)
    assert old.folder.is_dir()


def _started(
    config: RunConfig,
    run_id: str,
    time_ns: int,
) -> None:
    """Let MLflow say that a run began at another time."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(config.home / "mlflow.db")) as database, database:
        database.execute(
            "UPDATE runs SET start_time = ? WHERE run_uuid = ?", (time_ns // 10**6, run_id)
        )


def _files(tracker: Tracker, run_id: str) -> list[str]:
    return [file.path for file in tracker.ask(lambda client: client.list_artifacts(run_id))]


def _bytes(home: Path) -> dict[str, tuple[str, int]]:
    """Return hash and time of every file; SQLite's own files change when a database is read."""
    return {
        str(path): (sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in home.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }
