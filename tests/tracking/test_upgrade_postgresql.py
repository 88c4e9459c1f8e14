"""Databases on PostgreSQL: no command migrates MLflow's tables unasked, and a kill leaves them as they were.

Skipped where PostgreSQL is not installed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import ArtifactError
from tests.postgresql import Cluster, cluster_of_services
from tests.tracking.older_databases import (
    KEPT,
    make_mlflow_tables,
    mlflow_revisions,
    prefect_database,
    prefect_rows,
    write_prefect_rows,
)
from tracking.client import open_client, require_whole
from tracking.database import head_revision

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]
REASON = "psycopg is not installed: pip install -c constraints.txt -e '.[postgres]'"
psycopg = pytest.importorskip("psycopg", reason=REASON)
OLDER = 20
"""How many of MLflow's migrations are before us: among them one that alters the table of registered models."""
BEFORE_LIMITS = "3b86c5ea017a"
"""Revision of Prefect's tables before the migration of limits, in PostgreSQL."""
VERSION = "(name, version, creation_time, current_stage, status) VALUES ('reviewlm', 7, 1, 'None', 'READY')"
ALIAS = "(name, alias, version) VALUES ('reviewlm', 'champion', 7)"
WAITS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = 'mlflow'"
TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with cluster_of_services() as cluster:
        yield cluster


def test_older_tables_of_mlflow_are_refused_and_whole_after_a_migration_that_was_killed(cluster: Cluster) -> None:
    uri, revision = cluster.address("mlflow"), mlflow_revisions()[OLDER]
    make_mlflow_tables(uri, revision)
    cluster.ask("mlflow", "INSERT INTO experiments (name, lifecycle_stage) VALUES ('kept', 'active')")
    cluster.ask("mlflow", "INSERT INTO registered_models (name) VALUES ('reviewlm')")
    cluster.ask("mlflow", f"INSERT INTO model_versions {VERSION}")
    cluster.ask("mlflow", f"INSERT INTO registered_model_aliases {ALIAS}")
    tables = sorted(cluster.ask("mlflow", TABLES))
    for opened in (lambda: open_client(uri).search_experiments(), lambda: require_whole(uri)):
        with pytest.raises(ArtifactError, match="older MLflow") as told:
            opened()
        assert f"mlflow db upgrade {uri}" in told.value.remedy

    command = [sys.executable, "-m", "mlflow", "db", "upgrade", uri]
    with psycopg.connect(uri) as reader:
        reader.execute("SELECT * FROM registered_models")  # the migration waits for this transaction, in its midst
        child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while cluster.ask("mlflow", WAITS) == [(0,)]:
            assert child.poll() is None
            time.sleep(0.1)
        child.kill()
        child.wait()
    assert sorted(cluster.ask("mlflow", TABLES)) == tables
    assert cluster.ask("mlflow", "SELECT version_num FROM alembic_version") == [(revision,)]

    subprocess.run(command, check=True, capture_output=True)
    assert cluster.ask("mlflow", "SELECT version_num FROM alembic_version") == [(head_revision(),)]
    client = open_client(uri)
    assert "kept" in {one.name for one in client.search_experiments()}
    assert int(client.get_model_version_by_alias("reviewlm", "champion").version) == 7
    require_whole(uri)


def test_older_tables_of_prefect_are_migrated_with_their_rows(cluster: Cluster, tmp_path: Path) -> None:
    """As Prefect's server does at its start."""
    uri = cluster.address("prefect", "postgresql+asyncpg")
    prefect_database(["upgrade", "--yes"], tmp_path, uri)
    prefect_database(["downgrade", "--yes", "-r", BEFORE_LIMITS], tmp_path, uri)
    with psycopg.connect(cluster.address("prefect"), autocommit=True) as database:
        write_prefect_rows(database, took="90 seconds")
    prefect_database(["upgrade", "--yes"], tmp_path, uri)
    assert prefect_rows(lambda query: cluster.ask("prefect", query)) == KEPT


def test_an_empty_database_is_no_older_one(cluster: Cluster) -> None:
    cluster.ask("postgres", "CREATE DATABASE fresh")
    require_whole(cluster.address("fresh"))
    assert open_client(cluster.address("fresh")).search_experiments()
