"""The verbs that look at data, as a user types them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from tests.command_line import Done, call

ROWS = pl.DataFrame(
    {"review_id": [f"id{n}" for n in range(300)], "stars": [1.0 + n % 5 for n in range(300)]}
)
Called = Callable[..., Done]


@pytest.fixture
def reviewlm(
    own_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Called:
    """The command line, started in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return partial(call, monkeypatch, capfd)


def test_a_suggested_suite_passes_its_source_and_stops_what_differs(
    reviewlm: Called, tmp_path: Path
) -> None:
    ROWS.write_parquet(tmp_path / "reviews.parquet")
    ROWS.with_columns(stars=pl.lit(9.0)).write_parquet(tmp_path / "other.parquet")
    suite = tmp_path / "suite.json"
    made = reviewlm(
        "data",
        "checks",
        "suggest",
        "--table",
        tmp_path / "reviews.parquet",
        "--out",
        suite,
        "--json",
    )
    assert made.facts["columns"] == 2

    passed = reviewlm(
        "data", "checks", "run", "--suite", suite, "--table", tmp_path / "reviews.parquet", "--json"
    )
    assert passed.facts["passed"] is True
    assert (tmp_path / "data_docs" / "index.html").is_file()

    failed = reviewlm(
        "data", "checks", "run", "--suite", suite, "--table", tmp_path / "other.parquet"
    )
    assert failed.code == 4
    assert "stars" in failed.err
