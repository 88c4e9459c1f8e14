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


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A table of reviews, from which suites are suggested."""
    file = tmp_path / "reviews.parquet"
    ROWS.write_parquet(file)
    return file


@pytest.fixture
def suite(
    reviewlm: Called,
    source: Path,
    tmp_path: Path,
) -> Path:
    """A suite that was suggested for the table."""
    file = tmp_path / "suite.json"
    asked = ("data", "checks", "suggest", "--table", source, "--out", file, "--json")
    assert reviewlm(*asked).facts["columns"] == 2
    return file


def test_a_suggested_suite_passes_its_source(
    reviewlm: Called,
    suite: Path,
    source: Path,
    tmp_path: Path,
) -> None:
    checked = reviewlm(
        "data",
        "checks",
        "run",
        "--suite",
        suite,
        "--table",
        source,
        "--json",
    )
    assert checked.facts["passed"] is True
    assert (tmp_path / "data_docs" / "index.html").is_file()


def test_a_suggested_suite_stops_a_table_that_differs(
    reviewlm: Called,
    suite: Path,
    tmp_path: Path,
) -> None:
    other = tmp_path / "other.parquet"
    ROWS.with_columns(stars=pl.lit(9.0)).write_parquet(other)
    failed = reviewlm(
        "data",
        "checks",
        "run",
        "--suite",
        suite,
        "--table",
        other,
    )
    assert failed.code == 4
    assert "stars" in failed.err
