"""The same calls against an MLflow server that keeps the artifacts itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tracking.logged_models.bundles import find_version, log_bundle
from tracking.logged_models.export import smoke_test
from tracking.registry.registry import CHAMPION, Registry
from tracking.registry.versions import Reference
from tracking.runs.runs import Tracker

pytestmark = pytest.mark.slow
Started = Callable[..., AbstractContextManager[str]]


@pytest.fixture
def address(store_home: Path, tmp_path: Path, started: Started) -> Iterator[str]:
    def command(port: int) -> list[str]:
        return [
            "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{store_home / 'mlflow.db'}",
            "--artifacts-destination", str(tmp_path / "kept by the server"),
        ]

    with started(command, tmp_path, "/health", MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false") as address:
        yield address


@pytest.mark.long
def test_everything_works_through_a_server(address: str, tmp_path: Path, stand_in: Any):
    tracker = Tracker(address, "reviewlm", tmp_path / "home" / "mlartifacts")
    run_id = tracker.start_run("fit", {"reviewlm.fit": "d1"})
    journal = tmp_path / "metrics.jsonl"
    journal.write_text("".join(json.dumps({"step": step, "train/nats": 1.0}) + "\n" for step in range(30)))
    assert [tracker.log_journal(run_id, journal) for _ in range(2)] == [30, 0]
    tracker.log_table(run_id, pl.DataFrame({"a": [1]}), "t.json")
    tracker.log_datasets(run_id, [(pl.DataFrame({"a": [1]}), "reviews", "d" * 16, "training")])
    tracker.end_run(run_id)
    assert tracker.find_run("reviewlm.fit", "d1", "FINISHED") == run_id
    assert tracker.link(run_id).startswith(address)

    bundle = stand_in.bundle(tmp_path / "bundle", "w")
    uri = log_bundle(tracker, run_id, bundle, package=stand_in.package(tmp_path / "models", "one"))
    registry = Registry(tracker, "reviewlm")
    version = registry.register(uri, run_id)
    assert registry.register(uri, run_id) == version
    registry.settle(version, None, True, "first", {"gate/outcome": "promoted"})
    assert registry.version_rows()[0]["outcome"] == "promoted"

    found = find_version(tracker, Reference("reviewlm", CHAMPION))
    assert found is not None
    assert found.folder.is_relative_to(tmp_path / "home" / "mlartifacts")
    assert (found.folder / "spec.json").read_bytes() == (bundle / "spec.json").read_bytes()
    assert registry.bundle_folder(version) == found.folder
    smoke = smoke_test(tracker, uri)
    assert smoke.passed, smoke.detail
