"""The verbs that look at data, as a user types them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

ROWS = pl.DataFrame({"review_id": [f"id{n}" for n in range(300)], "stars": [1.0 + n % 5 for n in range(300)]})


def reviewlm(home: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reviewlm.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=home, timeout=120)


@pytest.mark.usefixtures("own_home")
def test_a_suggested_suite_passes_its_source_and_stops_what_differs(tmp_path: Path) -> None:
    ROWS.write_parquet(tmp_path / "reviews.parquet")
    ROWS.with_columns(stars=pl.lit(9.0)).write_parquet(tmp_path / "other.parquet")
    suite = tmp_path / "suite.json"
    made = reviewlm(tmp_path, "checks", "suggest", "--table", tmp_path / "reviews.parquet", "--out", suite, "--json")
    assert json.loads(made.stdout.splitlines()[-1])["columns"] == 2

    passed = reviewlm(tmp_path, "checks", "run", "--suite", suite, "--table", tmp_path / "reviews.parquet", "--json")
    assert json.loads(passed.stdout.splitlines()[-1])["passed"] is True
    assert (tmp_path / "data_docs" / "index.html").is_file()

    failed = reviewlm(tmp_path, "checks", "run", "--suite", suite, "--table", tmp_path / "other.parquet")
    assert failed.returncode == 4
    assert "stars" in failed.stderr


@pytest.mark.usefixtures("own_home")
def test_exporting_an_empty_quarantine_says_what_to_do_first(tmp_path: Path) -> None:
    nothing = reviewlm(tmp_path, "quarantine", "export", "--out", tmp_path / "bad.jsonl")
    assert nothing.returncode == 3
    assert "reviewlm ingest" in nothing.stderr
