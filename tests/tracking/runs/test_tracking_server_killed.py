"""A real MLflow server that is killed in the midst of a run, and started again later on the same port."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from core.errors import TrackingUnavailable
from reviewlm.verbs.home import sync
from tests.tracking.mlflow_servers import Served
from tests.tracking.runs.written_runs import state, write_runs
from tracking.registry.registry import Registry
from tracking.runs import publish
from tracking.runs.runs import Tracker

pytestmark = pytest.mark.long


@pytest.fixture
def served(store_home: Path, tmp_path: Path) -> Iterator[Served]:
    def command(port: int) -> list[str]:
        return [
            "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{store_home / 'mlflow.db'}",
            "--artifacts-destination", str(tmp_path / "kept"),
        ]

    server = Served(command, tmp_path, "/health", MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
    server.start()
    yield server
    server.stop()


@pytest.mark.drill("MLflow server away", "kill -9 of the server, later started again", "no metric lost or doubled")
def test_a_server_killed_in_the_midst_of_a_run_has_everything_once_when_it_is_back(
    served: Served, tmp_path: Path, pieces: Path, light_models: None, monkeypatch: pytest.MonkeyPatch, capsys: Any
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
    curve = [(point.step, point.value) for point in tracker.client.get_metric_history(long_run, "curve")]
    assert curve == [(step, step / 3) for step in range(last + 1)]
    found = state(tracker, tmp_path / "kept" / tracker.experiment_id)
    assert found.pop("long")
    found["runs"].remove("long")
    assert found == expected
    child = tracker.find_run("reviewlm.fit", "d1")
    assert child is not None
    assert Registry(tracker, "reviewlm").register(tracker.tag(child, "reviewlm.model_uri"), child) == 1
    tracker.log_table(long_run, pl.DataFrame({"a": [1]}), "after.json")
    assert list(tracker.records.folder.glob("*/files")) == []
