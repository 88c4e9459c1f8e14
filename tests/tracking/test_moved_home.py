"""A home folder that was copied, moved or restored opens its own files, and leaves where it came from alone."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from reviewlm.core.credentials import USER, password_of
from reviewlm.core.processes.leftovers import process_name
from reviewlm.core.services import launch, service_list
from reviewlm.core.sqlite_files import home_database
from reviewlm.tracking.backup import restore_backup, write_backup
from reviewlm.tracking.logged_models.bundles import find_version, has_bundle
from reviewlm.tracking.logged_models.unused import models_of, runs_of
from reviewlm.tracking.registry.registry import Registry
from reviewlm.tracking.registry.versions import Reference
from reviewlm.tracking.runs.runs import Tracker
from reviewlm.tracking.tags import MODEL_URI_TAG
from tests.tracking.mlflow_servers import Served

ROOT = Path(__file__).parents[2]


def tracker_in(home: Path) -> Tracker:
    return Tracker(home_database(home), "reviewlm", home / "mlartifacts")


def write_run(home: Path, name: str) -> str:
    tracker = tracker_in(home)
    run = tracker.start_run(name, {}, None)
    tracker.log_table(run, pl.DataFrame({"a": [1]}), "tables/a.json")
    tracker.end_run(run)
    return run


def digests(home: Path) -> dict[str, str]:
    """SHA-256 of every file but SQLite's shared memory, which readers touch too."""
    files = (path for path in home.rglob("*") if path.is_file() and not path.name.endswith("-shm"))
    return {
        path.relative_to(home).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


@pytest.fixture
def origin(store: Any, store_home: Path) -> Path:
    """A home whose registered version has its files in it."""
    store.registry.promote(store.version("a"), None)
    store.tracker.log_table(store.run_id, pl.DataFrame({"a": [1]}), "tables/a.json")
    store.tracker.end_run(store.run_id)
    return store_home


def copied(origin: Path, place: Path) -> None:
    shutil.copytree(origin, place)
    shutil.rmtree(origin)


def restored(origin: Path, place: Path) -> None:
    write_backup(origin, place.with_name("b.tar"))
    shutil.rmtree(origin)
    restore_backup(place.with_name("b.tar"), place)


@pytest.fixture(params=[copied, restored, shutil.move], ids=lambda way: way.__name__)
def moved(
    request: pytest.FixtureRequest,
    origin: Path,
    tmp_path: Path,
) -> Path:
    """The home at another place, whose name needs quoting; nothing is left at the old one."""
    home = tmp_path / "another höme #2, 100% new"
    request.param(origin, home)
    return home


def test_the_model_of_a_home_at_another_place_opens(moved: Path) -> None:
    tracker = tracker_in(moved)
    version = find_version(tracker, Reference("reviewlm", "champion"))
    assert version is not None
    assert version.folder.is_relative_to(moved)
    assert Registry(tracker, "reviewlm").bundle_folder(1) == version.folder
    [run] = runs_of(tracker)
    assert has_bundle(tracker, tracker.tag(run.id, MODEL_URI_TAG))
    [model] = models_of(tracker, [])
    assert model.folder.is_relative_to(moved)


def test_the_artifacts_of_a_home_at_another_place_open(moved: Path, tmp_path: Path) -> None:
    tracker = tracker_in(moved)
    [run] = runs_of(tracker)
    assert run.files is not None
    assert (run.files / "tables" / "a.json").is_file()
    with tracker.reaching() as client:
        file = Path(client.download_artifacts(run.id, "tables/a.json", str(tmp_path)))
    assert "a.json" in file.name


def test_a_home_at_another_place_writes_nothing_to_the_old_one(moved: Path, origin: Path) -> None:
    write_run(moved, "second")
    assert not origin.exists()


def test_every_copy_of_a_home_writes_into_itself(origin: Path) -> None:
    homes = [origin, origin.with_name("b"), origin.with_name("c")]
    for copy in homes[1:]:
        shutil.copytree(origin, copy)
    for place in homes:
        before = [digests(other) for other in homes if other != place]
        run = write_run(place, "again")
        assert (place / "mlartifacts" / run).is_dir()
        assert [digests(other) for other in homes if other != place] == before


@pytest.fixture
def copied_server(
    origin: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[Path, str]]:
    """A copied home, and the address of its MLflow server."""
    copied(origin, home := tmp_path / "copy")
    monkeypatch.setenv("REVIEWLM_HOME", str(home))

    def command(port: int) -> list[str]:
        return launch.command_of("mlflow", "127.0.0.1", port)

    server = Served(
        command,
        tmp_path,
        "/health",
        program="python",
        PYTHONPATH=str(ROOT),
    )
    server.start()
    try:
        yield home, server.address
    finally:
        server.stop()


@pytest.mark.slow
def test_the_page_of_a_copied_home_gives_its_files(copied_server: tuple[Path, str]) -> None:
    home, address = copied_server
    [run] = runs_of(tracker_in(home))
    login = base64.b64encode(f"{USER}:{password_of(home)}".encode()).decode()

    def ask(path: str) -> bytes:
        request = urllib.request.Request(
            f"{address}/{path}", headers={"Authorization": f"Basic {login}"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())

    listed = json.loads(ask(f"ajax-api/2.0/mlflow/artifacts/list?run_id={run.id}&path=tables"))
    assert {file["path"] for file in listed["files"]} == {"tables/a.json"}
    assert b'"a"' in ask(f"get-artifact?run_uuid={run.id}&path=tables/a.json")


@pytest.mark.slow
def test_the_model_of_a_copied_home_is_fetched_through_its_server(
    copied_server: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home, address = copied_server
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password_of(home))
    stranger = Tracker(address, "reviewlm", tmp_path / "elsewhere" / "mlartifacts")
    version = find_version(stranger, Reference("reviewlm", "champion"))
    assert version is not None
    assert version.folder.is_relative_to(tmp_path / "elsewhere")


def test_a_copy_neither_joins_nor_stops_the_services_of_the_original(origin: Path) -> None:
    service = service_list.Service("prefect", process_name(os.getpid()), "", str(origin))
    (origin / service_list.STATE).write_text(json.dumps([asdict(service)]))
    shutil.copytree(origin, copy := origin.with_name("copy"))
    assert service_list.running(copy) == []
    assert [one.name for one in service_list.running(origin)] == ["prefect"]
    moved = replace(service, home=str(origin.with_name("before")))
    (origin / service_list.STATE).write_text(json.dumps([asdict(moved)]))
    assert [one.name for one in service_list.running(origin)] == ["prefect"], (
        "a home that was moved has its services"
    )
