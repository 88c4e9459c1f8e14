"""MLflow's store in a real PostgreSQL: the same writes, two homes at once, and a database that is stopped and back.

Skipped where PostgreSQL is not installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reviewlm.tracking.registry.registry import Registry
from reviewlm.tracking.registry.versions import CHAMPION
from reviewlm.tracking.runs import publish
from reviewlm.tracking.runs.runs import Tracker
from tests.postgresql import Cluster, running_cluster
from tests.tracking.runs.written_runs import state, write_runs

pytestmark = pytest.mark.slow
pytest.importorskip(
    "psycopg", reason="psycopg is not installed: pip install -c constraints.txt -e '.[postgres]'"
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as cluster:
        yield cluster


@pytest.mark.drill(
    "database connection cut",
    "PostgreSQL stopped as by a crash, and started",
    "everything is there, once",
)
@pytest.mark.long
@pytest.mark.usefixtures("light_models")
def test_a_database_that_was_stopped_has_everything_once(
    cluster: Cluster,
    tmp_path: Path,
    pieces: Path,
    tracker: Tracker,
    monkeypatch: pytest.MonkeyPatch,
):
    """The same runs as in SQLite, with an outage of the database in their midst."""
    monkeypatch.setattr(publish, "PAUSE", 0.2)
    write_runs(tracker, pieces)
    expected = state(tracker, tracker.artifact_root)

    shared = Tracker(cluster.uri, "reviewlm", tmp_path / "shared" / "mlartifacts")
    before = shared.start_run("before")
    cluster.stop()
    write_runs(shared, pieces)
    assert len(shared.waiting()) == 2
    cluster.start()
    shared.end_run(before)
    shared.wait(60)
    assert not any(record.waits or record.refused for record in shared.records.all())
    found = state(shared, shared.artifact_root)
    assert found.pop("before")["status"] == "FINISHED"
    found["runs"].remove("before")
    assert found == expected


@pytest.mark.usefixtures("light_models")
def test_two_homes_share_one_registry_through_one_database(
    cluster: Cluster,
    tmp_path: Path,
    pieces: Path,
):
    """Each has a home folder, so a lock file, of its own; the models' files lie where both can read them."""

    def machine(number: int) -> tuple[Tracker, int]:
        tracker = Tracker(cluster.uri, "machines", tmp_path / f"machine {number}" / "mlartifacts")
        write_runs(tracker, pieces)
        run = tracker.newest_run("reviewlm.fit", "d1")
        assert run is not None
        child = run.info.run_id
        return tracker, Registry(tracker, "reviewlm").register(
            tracker.tag(child, "reviewlm.model_uri"), child
        )

    (first, one), (second, two) = machine(1), machine(2)
    assert (one, two) == (1, 2)
    registries = [Registry(tracker, "reviewlm") for tracker in (first, second)]
    registries[0].promote(one, None)
    assert [registry.alias(CHAMPION).version for registry in registries] == [1, 1]  # type: ignore[union-attr]
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(lambda registry: registry.bundle_folder(two), registries))
    assert all((folder / "spec.json").is_file() for folder in folders)
