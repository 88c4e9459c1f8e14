"""MLflow's artifacts in a bucket of a local S3 server: figures and registered models, by one option of MLflow's server.

With `--artifacts-destination s3://…` only the server knows the bucket and its credentials: two homes write and read
through it. With `--default-artifact-root s3://…` the homes use the bucket themselves, as with a database and no server
whose experiment has such an address.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from core.environment import TRACKING_VARIABLE
from tests.flows.first_run import answer
from tests.marked_cases import long_but
from tests.s3_server import BUCKET, s3_server
from tests.tracking.tiny_model import fitted
from tracking.client import open_client
from tracking.logged_models.export import log_bundle
from tracking.logged_models.opening import open_champion
from tracking.registry.registry import Registry
from tracking.runs.runs import Tracker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
boto3 = pytest.importorskip("boto3", reason="boto3 is not installed: pip install -c constraints.txt -e '.[s3]'")
Started = Callable[..., AbstractContextManager[str]]
CREDENTIALS = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")
WAYS = {
    "through the server": ["--artifacts-destination"], "directly": ["--no-serve-artifacts", "--default-artifact-root"],
}  # fmt: skip
TEXT = "The soup was cold and the staff was friendly."
STRANGER = """
import json, sys
import mlflow.pyfunc, pandas
model = mlflow.pyfunc.load_model("models:/reviewlm@champion")
[scored] = model.predict(pandas.DataFrame({"text": [sys.argv[1]]}), params={"task": "score", "stars": 5})
print(json.dumps(scored["nats"]))
"""


@dataclass(frozen=True)
class Shared:
    """An MLflow server whose artifacts are in a bucket, and whether its clients use the bucket themselves."""

    address: str
    direct: bool
    bucket: Any

    def names(self) -> set[str]:
        """Return the names of the bucket's objects below the server's prefix, without the ids."""
        found = self.bucket.list_objects_v2(Bucket=BUCKET, Prefix="mlflow/").get("Contents", [])
        return {str(one["Key"]) for one in found}


@pytest.fixture(params=long_but(WAYS, ["through the server"]))
def shared(
    request: pytest.FixtureRequest, tmp_path: Path, started: Started, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shared]:
    """A server. The credentials are in its environment only, unless its clients use the bucket, too."""
    (folder := tmp_path / "server").mkdir()

    def command(port: int) -> list[str]:
        return [
            "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--backend-store-uri",
            f"sqlite:///{folder / 'mlflow.db'}", *WAYS[request.param], f"s3://{BUCKET}/mlflow",
        ]

    with s3_server(), started(command, folder, "/health", MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false") as address:
        bucket = client_of_bucket()
        if request.param != "directly":
            for name in CREDENTIALS:
                monkeypatch.delenv(name)
        yield Shared(address, request.param == "directly", bucket)


def client_of_bucket() -> Any:
    """Return a client that keeps endpoint and credentials of the environment of now."""
    return boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name="us-east-1")


@pytest.fixture
def without_server(tmp_path: Path) -> Iterator[Shared]:
    """A database with an experiment whose artifacts are in the bucket."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with s3_server():
        open_client(uri).create_experiment("reviewlm", artifact_location=f"s3://{BUCKET}/mlflow")
        yield Shared(uri, True, client_of_bucket())


def registered(shared: Shared, home: Path) -> Registry:
    """Log a figure and a model, and make the model champion."""
    import matplotlib.pyplot as plt

    tracker = Tracker(shared.address, "reviewlm", home / "mlartifacts")
    registry, run_id = Registry(tracker, "reviewlm"), tracker.start_run("fit")
    figure, axes = plt.subplots()
    axes.plot([1, 2, 3])
    tracker.log_figure(run_id, figure, "plots/loss.png")
    plt.close(figure)
    tracker.log_text(run_id, "why", "decision.md")
    version = registry.register(log_bundle(tracker, run_id, fitted(home.with_name("made"))), run_id)
    tracker.end_run(run_id)
    registry.settle(version, None, True, "", {"gate/outcome": "promoted", "gate/reason": "the first"})
    assert tracker.outbox.waiting() == 0
    return registry


def test_a_second_home_opens_the_champion_and_its_figures_through_the_tracking_server(
    shared: Shared, tmp_path: Path
) -> None:
    require_shared(shared, tmp_path)


def test_a_second_home_opens_what_a_database_has_in_a_bucket(without_server: Shared, tmp_path: Path) -> None:
    require_shared(without_server, tmp_path)


def require_shared(shared: Shared, tmp_path: Path) -> None:
    """One home registers a model in the bucket, and another one, and a program without the project, opens it."""
    first = registered(shared, tmp_path / "one" / "home")
    names = shared.names()
    assert any(name.endswith("/artifacts/plots/loss.png") for name in names)
    assert any("/models/m-" in name and name.endswith("/spec.json") for name in names)
    assert list((tmp_path / "one" / "home" / "mlartifacts").rglob("*.png")) == [], "nothing is in the home"

    tracker = Tracker(shared.address, "reviewlm", tmp_path / "two" / "home" / "mlartifacts")
    bundle, version = open_champion(tracker)
    original, _ = open_champion(first.tracker)
    assert version.version == 1
    assert bundle.score_text(TEXT, 5).nats == original.score_text(TEXT, 5).nats
    with tracker.reaching() as client:
        picture = Path(client.download_artifacts(version.run_id, "plots/loss.png", str(tmp_path)))
    assert picture.read_bytes().startswith(b"\x89PNG")

    environment = {**os.environ, "MLFLOW_TRACKING_URI": shared.address, "PYTHONPATH": ""}
    done = subprocess.run([sys.executable, "-c", STRANGER, TEXT], cwd=tmp_path, env=environment, capture_output=True,
                          text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3_000:]
    assert json.loads(done.stdout.splitlines()[-1]) == pytest.approx(bundle.score_text(TEXT, 5).nats, rel=1e-6)


@pytest.mark.long
def test_while_the_bucket_is_away_writes_wait_and_then_arrive(shared: Shared, tmp_path: Path) -> None:
    tracker = Tracker(shared.address, "reviewlm", tmp_path / "home" / "mlartifacts")
    run_id = tracker.start_run("fit")
    shared.bucket.delete_bucket(Bucket=BUCKET)
    tracker.log_text(run_id, "why", "decision.md")
    tracker.end_run(run_id)
    assert tracker.outbox.waiting() == 2, "the end of the run waits its turn"
    shared.bucket.create_bucket(Bucket=BUCKET)
    tracker.wait(60)
    assert tracker.outbox.refused() == []
    assert [name.rpartition("/")[2] for name in shared.names()] == ["decision.md"]


@pytest.mark.long
def test_gc_leaves_the_bucket_alone_and_backup_says_what_it_leaves_out(shared: Shared, tmp_path: Path) -> None:
    home = tmp_path / "one" / "home"
    registered(shared, home)
    before = shared.names()
    variables = {TRACKING_VARIABLE: shared.address}
    collected = answer(home, "gc", **variables)
    assert any(shared.address in note and "mlflow gc" in note for note in collected["notes"])
    assert shared.names() == before
    saved = answer(home, "backup", "--to", str(tmp_path / "backup.tar.zst"), **variables)
    assert [shared.address in warning and "artifact store" in warning for warning in saved["warnings"]] == [True]
