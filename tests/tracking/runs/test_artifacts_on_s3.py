"""MLflow's artifacts in a bucket of a local S3 server: figures and registered models, by one option of MLflow's server.

With `--artifacts-destination s3://…` only the server has the credentials: two homes write through it, and read by
addresses that it signs. With `--default-artifact-root s3://…` the homes use the bucket themselves, as with a database
and no server whose experiment has such an address.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from reviewlm.core.environment import TRACKING_VARIABLE
from reviewlm.core.errors import TrackingUnavailable
from reviewlm.tracking.client import open_client
from reviewlm.tracking.logged_models.bundles import log_bundle
from reviewlm.tracking.registry.opening import open_champion
from reviewlm.tracking.registry.registry import Registry
from reviewlm.tracking.runs import publish
from reviewlm.tracking.runs.runs import Tracker
from reviewlm.tracking.tags import MODEL_URI_TAG
from tests.flows.first_run import answer
from tests.marked_cases import long_but
from tests.programs import command
from tests.s3_server import BUCKET, s3_server
from tests.tracking.mlflow_servers import store_server
from tests.tracking.tiny_model import fitted

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
boto3 = pytest.importorskip(
    "boto3", reason="boto3 is not installed: pip install -c constraints.txt -e '.[s3]'"
)
CREDENTIALS = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")
WAYS = {
    "through the server": ["--artifacts-destination"],
    "directly": ["--no-serve-artifacts", "--default-artifact-root"],
    "without a server": [],
}
TEXT = "The soup was cold and the staff was friendly."


@dataclass(frozen=True)
class Shared:
    """The address of a store whose artifacts are in a bucket, and a client of the bucket."""

    address: str
    bucket: Any

    def names(self) -> set[str]:
        """Return the names of the bucket's objects below the store's prefix."""
        found = self.bucket.list_objects_v2(Bucket=BUCKET, Prefix="mlflow/").get("Contents", [])
        return {str(one["Key"]) for one in found}


@pytest.fixture(params=long_but(WAYS, ["without a server"]))
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shared]:
    """A store. The credentials are in its server's environment only, unless its clients use the bucket, too."""
    (folder := tmp_path / "server").mkdir()
    way, database = request.param, f"sqlite:///{folder / 'mlflow.db'}"
    with bucket_server() as bucket:
        if way == "without a server":
            open_client(database).create_experiment(
                "reviewlm", artifact_location=f"s3://{BUCKET}/mlflow"
            )
            yield Shared(database, bucket)
            return
        alone = without_credentials if way == "through the server" else nullcontext
        with store_server(folder, folder, *WAYS[way], f"s3://{BUCKET}/mlflow") as server, alone():
            yield Shared(server.address, bucket)


@contextmanager
def bucket_server() -> Iterator[Any]:
    """Run an S3 server and yield a client of it, which keeps its endpoint and credentials.

    MLflow keeps its own client for minutes, whatever the variables name: that of an earlier test is thrown away.
    """
    from mlflow.store.artifact import s3_artifact_repo

    s3_artifact_repo._cached_get_s3_client.cache_clear()
    with s3_server() as address:
        yield boto3.client("s3", endpoint_url=address, region_name="us-east-1")


@contextmanager
def without_credentials() -> Iterator[None]:
    with mock.patch.dict(os.environ):
        for name in CREDENTIALS:
            del os.environ[name]
        yield


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
    log_bundle(tracker, run_id, fitted(home.with_name("made")))
    version = registry.register(tracker.tag(run_id, MODEL_URI_TAG), run_id)
    tracker.end_run(run_id)
    registry.settle(
        version,
        None,
        True,
        "",
        {"gate/outcome": "promoted", "gate/reason": "the first"},
    )
    assert tracker.waiting() == []
    return registry


@pytest.fixture
def first(shared: Shared, tmp_path: Path) -> Registry:
    """The registry of a home that has registered a model in the bucket."""
    return registered(shared, tmp_path / "one" / "home")


def test_a_model_is_in_the_bucket_instead_of_the_home(
    first: Registry,
    shared: Shared,
    tmp_path: Path,
) -> None:
    names = shared.names()
    assert any(name.endswith("/artifacts/plots/loss.png") for name in names)
    assert any("/models/m-" in name and name.endswith("/spec.json") for name in names)
    assert list((tmp_path / "one" / "home" / "mlartifacts").rglob("*.png")) == []


def test_a_second_home_opens_the_champion_of_the_first(
    first: Registry,
    shared: Shared,
    tmp_path: Path,
) -> None:
    tracker = Tracker(shared.address, "reviewlm", tmp_path / "two" / "home" / "mlartifacts")
    bundle, version = open_champion(tracker)
    original, _ = open_champion(first.tracker)
    assert version.version == 1
    assert bundle.score_text(TEXT, 5).nats == original.score_text(TEXT, 5).nats
    with tracker.reaching() as client:
        picture = Path(client.download_artifacts(version.run_id, "plots/loss.png", str(tmp_path)))
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_program_without_the_project_scores_with_the_champion(
    first: Registry,
    shared: Shared,
    tmp_path: Path,
) -> None:
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": shared.address,
        "PYTHONPATH": "",
    }
    done = subprocess.run(
        command("score_by_mlflow", TEXT),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    bundle, _ = open_champion(first.tracker)
    said = json.loads(done.stdout.splitlines()[-1])
    assert said == pytest.approx(bundle.score_text(TEXT, 5).nats, rel=1e-6)


@pytest.mark.drill(
    "MLflow's bucket away",
    "while MLflow itself answers",
    "figures and models wait; each arrives once",
)
def test_what_is_written_while_the_bucket_is_away_arrives_later(
    shared: Shared,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publish, "PAUSE", 0.0)
    tracker = Tracker(shared.address, "reviewlm", tmp_path / "home" / "mlartifacts")
    run_id = tracker.start_run("fit")
    shared.bucket.delete_bucket(Bucket=BUCKET)
    tracker.log_text(run_id, "why", "decision.md")
    log_bundle(tracker, run_id, fitted(tmp_path / "made"))
    tracker.end_run(run_id)
    assert [tracker.sync() for _ in range(10)] == [1] * 10
    with pytest.raises(TrackingUnavailable):
        tracker.wait()

    shared.bucket.create_bucket(Bucket=BUCKET)
    tracker.wait(60)
    assert not any(record.waits or record.refused for record in tracker.records.all())
    names = [name.rpartition("/")[2] for name in shared.names()]
    assert (names.count("decision.md"), names.count("spec.json")) == (1, 1)
    with tracker.reaching() as client:
        assert client.get_run(run_id).info.status == "FINISHED"
        [model] = client.search_logged_models([tracker.experiment_id])
    assert str(model.status) == "READY"


@pytest.mark.long
@pytest.mark.usefixtures("first")
def test_gc_leaves_the_bucket_alone(shared: Shared, tmp_path: Path) -> None:
    before = shared.names()
    home = tmp_path / "one" / "home"
    collected = answer(home, "home", "gc", **{TRACKING_VARIABLE: shared.address})
    assert shared.names() == before
    notes = [note for note in collected["notes"] if "mlflow gc" in note]
    assert [shared.address in note for note in notes] == [True] * shared.address.startswith("http")


@pytest.mark.long
@pytest.mark.usefixtures("first")
def test_a_backup_says_that_the_bucket_is_left_out(shared: Shared, tmp_path: Path) -> None:
    home, file = tmp_path / "one" / "home", str(tmp_path / "backup.tar.gz")
    saved = answer(
        home,
        "home",
        "backup",
        "--to",
        file,
        **{TRACKING_VARIABLE: shared.address},
    )
    [warning] = saved["warnings"]
    assert shared.address in warning
