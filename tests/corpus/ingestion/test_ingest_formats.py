"""The same reviews give the same table, whatever file they come in."""


import polars as pl
import pytest

from core.errors import EmptyInput, Unreadable
from corpus.reading.sources import source_names
from corpus.schema import COLUMNS
from tests.corpus.review_files import FILES, REVIEWS, ingested, json_lines


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return ingested(tmp_path_factory.mktemp("expected"), ("reviews.jsonl", json_lines()))


def test_the_table_holds_what_the_records_say(expected):
    facts, frame, quarantine = expected
    assert frame.schema == pl.Schema(COLUMNS)
    fields = list(REVIEWS[0])
    assert frame.select(fields).with_columns(pl.col("date").dt.to_string("%Y-%m-%d %H:%M:%S")).to_dicts() == REVIEWS
    assert frame["line"].to_list() == list(range(1, 301))
    assert frame["source"].unique().to_list() == ["reviews.jsonl"]
    assert quarantine.is_empty()
    assert (facts["rows"], facts["records"], facts["quarantined"], facts["duplicates"]) == (300, 300, 0, 0)
    assert facts["bytes"] == sum(len(row["text"].encode()) for row in REVIEWS)
    dates = sorted(row["date"].replace(" ", "T") for row in REVIEWS)
    assert (facts["date_min"], facts["date_max"]) == (dates[0], dates[-1])


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_content(tmp_path, expected, name):
    facts, frame, _ = ingested(tmp_path, (name, FILES[name]))
    fields = list(REVIEWS[0])
    assert frame.select(fields).equals(expected[1].select(fields))
    assert facts["content_sha256"] == expected[0]["content_sha256"]


def test_missing_files_and_empty_globs_are_named(tmp_path):
    with pytest.raises(Unreadable, match=r"nowhere\.json"):
        source_names([tmp_path / "nowhere.json"])
    with pytest.raises(Unreadable, match="No file matches"):
        source_names([tmp_path / "*.json"])
    with pytest.raises(EmptyInput, match="No input"):
        source_names([])
