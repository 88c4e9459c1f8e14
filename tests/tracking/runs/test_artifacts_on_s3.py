"""MLflow's artifacts in a bucket of a local S3 server: figures and registered models of a database without a server.

Its experiment has such an address, which is what `mlflow server --default-artifact-root s3://…` gives to its clients.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.s3_server import BUCKET, s3_server
from tests.tracking.tiny_model import fitted
from tracking.client import open_client
from tracking.logged_models.export import log_bundle
from tracking.logged_models.opening import open_champion
from tracking.registry.registry import Registry
from tracking.runs.runs import Tracker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
boto3 = pytest.importorskip("boto3", reason="boto3 is not installed: pip install -c constraints.txt -e '.[s3]'")
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
    """The address of a store whose artifacts are in a bucket, and a client of the bucket."""

    address: str
    bucket: Any

    def names(self) -> set[str]:
        """Return the names of the bucket's objects below the experiment's prefix."""
        found = self.bucket.list_objects_v2(Bucket=BUCKET, Prefix="mlflow/").get("Contents", [])
        return {str(one["Key"]) for one in found}


def client_of_bucket() -> Any:
    """Return a client that keeps endpoint and credentials of the environment of now."""
    return boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name="us-east-1")


@pytest.fixture
def without_server(tmp_path: Path) -> Iterator[Shared]:
    """A database with an experiment whose artifacts are in the bucket."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with s3_server():
        open_client(uri).create_experiment("reviewlm", artifact_location=f"s3://{BUCKET}/mlflow")
        yield Shared(uri, client_of_bucket())


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


def test_a_second_home_opens_what_a_database_has_in_a_bucket(without_server: Shared, tmp_path: Path) -> None:
    """One home registers a model in the bucket, and another one, and a program without the project, opens it."""
    shared = without_server
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
