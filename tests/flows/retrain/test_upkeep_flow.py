"""A collection after real runs: the champion opens, its lineage is whole, and the newest run is not repeated."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.environment import other_home
from reviewlm.core.manifest import MANIFEST
from tests.flows.first_run import TINY, Ran, mlflow_client

pytestmark = [pytest.mark.slow, pytest.mark.long]
MONTH_MS = 30 * 86_400 * 1_000
SECOND_RUN = ("models.0.order=3", "seed=2")


def make_older(home: Path, before_ms: int) -> None:
    """Move everything from before a time back by a month, as if the run then had been one."""
    with closing(sqlite3.connect(home / "mlflow.db")) as database, database:
        database.execute(
            "UPDATE runs SET start_time = start_time - ? WHERE start_time < ?",
            (MONTH_MS, before_ms),
        )
        column = "creation_timestamp_ms"
        database.execute(
            f"UPDATE logged_models SET {column} = {column} - ? WHERE {column} < ?",
            (MONTH_MS, before_ms),
        )
    for file in (home / "store").glob(f"*/*/{MANIFEST}"):
        used = file.stat().st_mtime_ns
        if used < before_ms * 10**6:
            os.utime(file, ns=(used - MONTH_MS * 10**6,) * 2)


def test_after_a_collection_all_that_is_needed_is_there(ran: Ran) -> None:
    from reviewlm.core.lineage import verify
    from reviewlm.tasks.records.gather import recorded_version
    from reviewlm.tasks.upkeep.collect import collect
    from reviewlm.tracking.registry.opening import open_version

    between = int(time.time() * 1000)
    second = ran.again(*SECOND_RUN)
    make_older(ran.home, between)
    client = mlflow_client(ran)
    models = len(client.search_logged_models(["1"]))
    with other_home(ran.home):
        config = load_config(TINY, ["upkeep.runs=1", "upkeep.versions=0"])
        later = time.time_ns() + 86_400 * 10**9
        planned = collect(config.workspace, config.upkeep, dry_run=True, now=later)
        done = collect(config.workspace, config.upkeep, now=later)
        assert planned["kinds"] == done["kinds"]
        gone = {row["kind"]: row["gone"] for row in done["kinds"]}
        assert gone["results"] > 10
        assert gone["logged models"] == models - len(client.search_logged_models(["1"])) > 0
        assert done["bytes_after"] < done["bytes_before"]
        again = collect(config.workspace, config.upkeep, now=later)
        # Nothing more goes; only MLflow's log grows.
        assert again["bytes_before"] - done["bytes_after"] < 100_000
        record, entry = recorded_version(config.workspace, config.promotion, "champion")
        assert entry.version.version == second["champion_version"]
        assert verify(record, ran.home / "store", entry.folder) == []
        opened, _ = open_version(config.workspace, config.promotion.model_name, "champion")
        assert opened.model
    again = ran.again(*SECOND_RUN)
    assert again["stages"] == len(again["reused"])
    assert len(client.search_logged_models(["1"])) == models - gone["logged models"]
    # The first run is still there to be compared.
    assert set(client.get_run(ran.result["mlflow_run_id"]).data.params)
