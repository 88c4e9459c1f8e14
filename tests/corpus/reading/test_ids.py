"""Ids: one person is one person in every format, and a review without an id keeps the one that is derived for it."""


import orjson
import polars as pl
import pytest

from core.config.sections.data import SourceConfig
from corpus.ingestion.ingest import ingest, iter_parts
from tests.corpus.review_files import in_formats

FORMATS = list(in_formats([{"text": "a"}]))


def ingested(folder, name, content):
    (folder / name).write_bytes(content)
    ingest([folder / name], folder / "out", SourceConfig())
    return pl.concat(iter_parts(folder / "out")), pl.read_parquet(folder / "out" / "quarantine.parquet")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("ids", [
    [1000, 7, None], [1000.0, 7.0, None], ["1000", "7.0", None], [" 1000.00 ", "7", ""], ["1000", "7", r"\N"],
], ids=str)  # fmt: skip
def test_a_whole_number_is_one_id_however_it_is_written(tmp_path, name, ids):
    if any(one != one for one in ids) and name != "r.parquet":
        pytest.skip("no JSON, and in CSV a word like any other")
    records = [{"review_id": f"r{number}", "user_id": one, "business_id": one, "text": "a"}
               for number, one in enumerate(ids)]  # fmt: skip
    rows, _ = ingested(tmp_path, name, in_formats(records)[name])
    assert rows["user_id"].to_list() == rows["business_id"].to_list() == ["1000", "7", None]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("rounded", ["1.23457E+17", "1e+22", "1234567890123456.0", 1.5e22])
def test_a_rounded_number_is_no_id_in_any_format(tmp_path, name, rounded):
    """A spreadsheet has made many users one: their reviews would all be in one split."""
    records = [{"review_id": "a", "text": "a", "user_id": rounded}, {"review_id": "b", "text": "b", "user_id": None}]
    rows, bad = ingested(tmp_path, name, in_formats(records)[name])
    assert rows["review_id"].to_list() == ["b"]
    assert bad.select("reason").rows() == [("wrong_type",)]
    assert "user_id" in bad["detail"][0]
    assert "review_id" not in bad["detail"][0]


REVIEW = {"user_id": "u", "business_id": "b", "date": "2018-05-31", "text": "Good.", "stars": 4, "useful": 1}


def derived(folder, **changes):
    rows, _ = ingested(folder, "r.jsonl", orjson.dumps({**REVIEW, **changes}))
    return rows["review_id"][0]
