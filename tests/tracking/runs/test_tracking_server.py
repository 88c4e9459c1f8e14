"""The same calls against an MLflow server that keeps the artifacts itself, also if it is killed and started again."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from reviewlm.core.errors import TrackingUnavailable
from reviewlm.tracking.logged_models.bundles import find_version, log_bundle
from reviewlm.tracking.logged_models.export import smoke_test
from reviewlm.tracking.registry.registry import Registry
from reviewlm.tracking.registry.versions import CHAMPION, Reference
from reviewlm.tracking.runs import publish
from reviewlm.tracking.runs.runs import Tracker
from reviewlm.verbs.home import sync
from tests.tracking.mlflow_servers import Served, store_server
from tests.tracking.runs.written_runs import state, write_runs

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture
def served(store_home: Path, tmp_path: Path) -> Iterator[Served]:
    with store_server(tmp_path, store_home) as server:
        yield server


def test_everything_works_through_a_server(
    served: Served,
    tmp_path: Path,
    stand_in: Any,
):
    tracker = Tracker(served.address, "reviewlm", tmp_path / "home" / "mlartifacts")
    run_id = tracker.start_run("fit", {"reviewlm.fit": "d1"})
    journal = tmp_path / "metrics.jsonl"
    journal.write_text(
        "".join(json.dumps({"step": step, "train/nats": 1.0}) + "\n" for step in range(30))
    )
    for _ in range(2):
        tracker.log_journal(run_id, journal)
    assert len(tracker.client.get_metric_history(run_id, "train/nats")) == 30
    tracker.log_table(run_id, pl.DataFrame({"a": [1]}), "t.json")
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "a.parquet")
    tracker.log_datasets(run_id, [(tmp_path / "a.parquet", "reviews", "d" * 16, "training")])
    tracker.end_run(run_id)
    found_run = tracker.newest_run("reviewlm.fit", "d1", "FINISHED")
    assert found_run is not None
    assert found_run.info.run_id == run_id
    assert tracker.link(run_id).startswith(served.address)

    bundle = stand_in.bundle(tmp_path / "bundle", "w")
    log_bundle(tracker, run_id, bundle, package=stand_in.package(tmp_path / "models", "one"))
    registry, uri = Registry(tracker, "reviewlm"), tracker.tag(run_id, "reviewlm.model_uri")
    version = registry.register(uri, run_id)
    assert registry.register(uri, run_id) == version
    registry.settle(
        version,
        None,
        True,
        "first",
        {"gate/outcome": "promoted"},
    )
    assert registry.version_rows()[0]["outcome"] == "promoted"

    found = find_version(tracker, Reference("reviewlm", CHAMPION))
    assert found is not None
    assert found.folder.is_relative_to(tmp_path / "home" / "mlartifacts")
    assert (found.folder / "spec.json").read_bytes() == (bundle / "spec.json").read_bytes()
    assert registry.bundle_folder(version) == found.folder
    smoke = smoke_test(tracker, uri)
    assert smoke.passed, smoke.detail


@pytest.mark.drill(
    "MLflow server away", "kill -9 of the server, later started again", "no metric lost or doubled"
)
def test_a_server_killed_in_the_midst_of_a_run_has_everything_once_when_it_is_back(
    served: Served,
    tmp_path: Path,
    pieces: Path,
    light_models: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
):
    monkeypatch.setattr(publish, "PAUSE", 0.2)
    monkeypatch.setenv("REVIEWLM_HOME", str(tmp_path / "home"))
    undisturbed = Tracker(served.address, "undisturbed", tmp_path / "home" / "mlartifacts")
    write_runs(undisturbed, pieces)
    expected = state(undisturbed, tmp_path / "kept" / undisturbed.experiment_id)

    tracker = Tracker(served.address, "killed", tmp_path / "home" / "mlartifacts")
    long_run = tracker.start_run("long")
    killer = threading.Timer(0.3, served.kill)  # while requests are on their way
    killer.start()
    for step in range(200):
        tracker.log_metrics(long_run, {"curve": step / 3}, step)
        if killer.finished.is_set() and step >= 60:
            break
        time.sleep(0.005)
    killer.join()
    last = step
    write_runs(tracker, pieces)
    assert len(tracker.waiting()) >= 2
    sync(json=True)
    assert f'"waiting": {len(tracker.waiting())}' in capsys.readouterr().out
    with pytest.raises(TrackingUnavailable):
        tracker.wait(0)

    served.start()
    sync(json=True)
    assert '"waiting": 0' in capsys.readouterr().out
    assert not any(record.waits or record.refused for record in tracker.records.all())
    curve = [
        (point.step, point.value) for point in tracker.client.get_metric_history(long_run, "curve")
    ]
    assert curve == [(step, step / 3) for step in range(last + 1)]
    found = state(tracker, tmp_path / "kept" / tracker.experiment_id)
    assert found.pop("long")
    found["runs"].remove("long")
    assert found == expected
    run = tracker.newest_run("reviewlm.fit", "d1")
    assert run is not None
    child = run.info.run_id
    assert (
        Registry(tracker, "reviewlm").register(tracker.tag(child, "reviewlm.model_uri"), child) == 1
    )
    tracker.log_table(long_run, pl.DataFrame({"a": [1]}), "after.json")
    assert list(tracker.records.folder.glob("*/files")) == []
