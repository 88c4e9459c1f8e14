"""The benchmark of reading runs from its command line and says the truth about a tiny file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long
ROOT = Path(__file__).resolve().parents[3]
OURS = {"ours", "ours_clean", "ingest"}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    pytest.importorskip("pyarrow")
    size = ["--gigabytes", "0.0006", "--malformed", "0.05", "--repeats", "1", "--data", tmp_path_factory.mktemp("data")]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.data.ingest", "--json", *size], cwd=ROOT, capture_output=True, text=True,
        check=True, timeout=120,
    )
    return json.loads(run.stdout.splitlines()[-1])


def test_the_last_line_is_the_agreed_object(found):
    assert set(found) == {"machine", "versions", "command", "measurements", "ratios"}
    assert set(found["measurements"]) >= OURS
    assert {"ingest.polars", "ingest.pyarrow"} <= set(found["ratios"])
    assert found["ratios"]["ingest.polars"]["goal"] == 1.5
    assert all({"value", "goal", "peer"} <= set(one) and one["value"] > 0 for one in found["ratios"].values())


def test_a_ratio_is_their_seconds_by_ours(found):
    rows = found["measurements"]
    expected = rows["polars"]["wall_s"] / rows["ours"]["wall_s"]
    assert found["ratios"]["ingest.polars"]["value"] == pytest.approx(expected, rel=0.02, abs=0.02)  # of milliseconds


def test_ours_keeps_every_record_and_the_peers_say_what_they_lose(found):
    rows = found["measurements"]
    truth = rows["file"]
    assert truth["bad"] > 10
    assert (rows["ours"]["rows"], rows["ours"]["quarantined"]) == (truth["good"], truth["bad"])
    assert (rows["ours_clean"]["rows"], rows["ours_clean"]["quarantined"]) == (truth["good"], 0)
    whole = rows["ingest"]
    assert whole["rows"] + whole["duplicates"] + whole["quarantined"] == truth["lines"]
    assert rows["polars"]["file as it is"].startswith("fails")
    if "duckdb" in rows:
        assert "with nulls only" in rows["duckdb"]["file as it is"]
