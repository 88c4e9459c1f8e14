"""The verbs that look at data, as a user types them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

ROWS = pl.DataFrame({"review_id": [f"id{n}" for n in range(300)], "stars": [1.0 + n % 5 for n in range(300)]})
Called = Callable[..., tuple[int, str, str]]


@pytest.fixture
def reviewlm(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Called:
    """The command line in this process, started in an empty folder: exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        from reviewlm.cli import main

        monkeypatch.setattr(sys, "argv", ["reviewlm", *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        return code, *capfd.readouterr()

    return call


def test_a_suggested_suite_passes_its_source_and_stops_what_differs(reviewlm: Called, tmp_path: Path) -> None:
    ROWS.write_parquet(tmp_path / "reviews.parquet")
    ROWS.with_columns(stars=pl.lit(9.0)).write_parquet(tmp_path / "other.parquet")
    suite = tmp_path / "suite.json"
    made = reviewlm("checks", "suggest", "--table", tmp_path / "reviews.parquet", "--out", suite, "--json")
    assert json.loads(made[1].splitlines()[-1])["columns"] == 2

    passed = reviewlm("checks", "run", "--suite", suite, "--table", tmp_path / "reviews.parquet", "--json")
    assert json.loads(passed[1].splitlines()[-1])["passed"] is True
    assert (tmp_path / "data_docs" / "index.html").is_file()

    code, _, error = reviewlm("checks", "run", "--suite", suite, "--table", tmp_path / "other.parquet")
    assert code == 4
    assert "stars" in error


def test_exporting_an_empty_quarantine_says_what_to_do_first(reviewlm: Called, tmp_path: Path) -> None:
    code, _, error = reviewlm("quarantine", "export", "--out", tmp_path / "bad.jsonl")
    assert code == 3
    assert "reviewlm ingest" in error
