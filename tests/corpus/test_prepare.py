"""Cleaning, splitting and dropping duplicates, from an ingested dataset to clean.parquet."""

import random

import orjson
import polars as pl
import pytest

from corpus.clean import prepare
from corpus.clean_table import CLEAN
from corpus.ingest import ingest
from corpus.split import assign, iter_split
from reviewlm.config import CleanConfig, SourceConfig, SplitConfig
from reviewlm.errors import EmptyInput

SPLIT = SplitConfig()


def record(number, text, **more):
    return {"review_id": f"r{number}", "text": text, "stars": len(text) % 5 + 1, "date": "2018-01-01", **more}


def prepared(tmp_path, records, name="p", **settings):
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "r.jsonl").write_bytes(b"\n".join(orjson.dumps(row) for row in records))
    ingest([tmp_path / "r.jsonl"], tmp_path / f"{name}-data", SourceConfig(**settings))
    facts = prepare(tmp_path / f"{name}-data", tmp_path / name, CleanConfig(), SPLIT)
    return facts, pl.read_parquet(tmp_path / name / "clean.parquet")


DIFFERENT = [record(number, f"review number {number} &amp; more") for number in range(400)]


def test_the_table_has_cleaned_texts_with_their_bytes_and_words(tmp_path):
    facts, frame = prepared(tmp_path, [*DIFFERENT, record(999, "  caf&eacute;\r\nmail a@b.com ")])
    assert frame.schema == pl.Schema(CLEAN)
    row = frame.row(by_predicate=pl.col("review_id") == "r999", named=True)
    assert row["text"] == "café\nmail _email_"
    assert (row["bytes"], row["words"]) == (len("café\nmail _email_".encode()) + 1, 3)
    assert facts["rows"] == 401
    for name, counts in facts["splits"].items():
        side = frame.filter(pl.col("split") == name)
        assert counts == {"reviews": side.height, "bytes": side["bytes"].sum(), "words": side["words"].sum()}


def test_the_split_column_is_the_hash_of_the_id(tmp_path):
    _, frame = prepared(tmp_path, DIFFERENT)
    assert frame["split"].to_list() == assign(frame["review_id"], SPLIT).to_list()


@pytest.mark.parametrize(("stars", "expected"), [(5, 5), ("1.0", 1), (2.5, 0), (0, 0), (6, 0), (-1, 0), (None, 0)])
def test_ratings_that_are_no_whole_number_from_one_to_five_are_unknown(tmp_path, stars, expected):
    _, frame = prepared(tmp_path, [*DIFFERENT, record("x", "odd rating", stars=stars)])
    assert frame.filter(pl.col("review_id") == "rx")["stars"].to_list() == [expected]


def test_the_order_of_the_input_and_the_cut_into_parts_change_nothing(tmp_path, monkeypatch):
    texts = [record(number, f"text {number % 250}") for number in range(400)]
    one = prepared(tmp_path / "one", texts)
    random.Random(1).shuffle(texts)
    monkeypatch.setattr("corpus.clean.SLICE_BYTES", 4000)
    two = prepared(tmp_path / "two", texts, part_rows=30)
    assert two[1].equals(one[1])
    assert two[0] == one[0]
    assert not (tmp_path / "two" / "p" / "slices").exists()


def test_duplicates_leave_the_less_sacred_side_and_are_counted(tmp_path):
    rows = [record(number, f"text {number % 250}") for number in range(600)]
    facts, frame = prepared(tmp_path, rows)
    texts = {name: frame.filter(pl.col("split") == name)["text"] for name in ("train", "validation", "test")}
    assert not set(texts["test"]) & set(texts["validation"])
    assert not set(texts["train"]) & (set(texts["test"]) | set(texts["validation"]))
    assert texts["train"].n_unique() == len(texts["train"])
    assert set(frame["text"]) == {row["text"] for row in rows}
    in_test = [row["review_id"] for row in rows if assign(pl.Series([row["review_id"]]), SPLIT)[0] == "test"]
    assert set(frame.filter(pl.col("split") == "test")["review_id"]) == set(in_test)
    dropped = sum(sum(counts.values()) for counts in facts["duplicates"].values())
    assert dropped == 600 - facts["rows"]
    assert min(facts["duplicates"]["train"][reason] for reason in ("of_test", "of_validation", "of_train")) > 0
    assert facts["duplicates"]["validation"]["of_test"] > 0


def test_texts_that_differ_only_before_cleaning_are_duplicates(tmp_path):
    twins = [record(f"t{number}", f"twin{' ' * number} &amp; twin") for number in range(60)]
    _, frame = prepared(tmp_path, [*DIFFERENT, *twins])
    assert frame.filter((pl.col("text") == "twin & twin") & (pl.col("split") != "test")).is_empty()


def test_more_data_moves_no_review_to_another_side(tmp_path):
    _, before = prepared(tmp_path / "a", DIFFERENT)
    later = [record(number, f"later {number}") for number in range(400, 700)]
    _, after = prepared(tmp_path / "b", [*DIFFERENT, *later])
    both = before.join(after, on="review_id", suffix="_after")
    assert both.height == before.height
    assert (both["split"] == both["split_after"]).all()


def test_the_test_digest_changes_with_a_text_of_the_test_and_only_then(tmp_path):
    names = [row["review_id"] for row in DIFFERENT]
    sides = dict(zip(names, assign(pl.Series(names), SPLIT), strict=True))
    digests = {}
    for side in ("test", "train"):
        victim = next(name for name, where in sides.items() if where == side)
        rows = [{**row, "text": "changed"} if row["review_id"] == victim else row for row in DIFFERENT]
        digests[side] = prepared(tmp_path / side, rows)[0]["test_digest"]
    whole = prepared(tmp_path / "whole", DIFFERENT)[0]["test_digest"]
    assert digests["train"] == whole
    assert digests["test"] != whole


def test_texts_with_nothing_left_are_set_aside_and_counted(tmp_path):
    facts, frame = prepared(tmp_path, [*DIFFERENT, record("e1", " \n "), record("e2", "&nbsp;"), record("e3", "")])
    assert facts["empty"] == 3
    assert facts["rows"] == frame.height == 400


def test_three_reviews_in_all_are_too_few_and_the_error_says_what_to_do(tmp_path):
    with pytest.raises(EmptyInput, match=r"(?s)has no reviews.*3 reviews in all.*give more"):
        prepared(tmp_path, [record(number, f"text {number}") for number in range(3)])


def test_identical_reviews_leave_an_empty_split_and_the_error_says_why(tmp_path):
    with pytest.raises(EmptyInput, match=r"(?s)'validation' has no reviews.*same text stands elsewhere"):
        prepared(tmp_path, [record(number, "all the same") for number in range(200)])


@pytest.mark.parametrize("batch_rows", [1, 7, 10_000])
def test_a_split_is_read_in_batches_in_its_order(tmp_path, batch_rows, monkeypatch):
    monkeypatch.setattr("corpus.clean_table.ROW_GROUP", 30)
    _, frame = prepared(tmp_path, DIFFERENT)
    for name in ("train", "validation", "test"):
        batches = list(iter_split(tmp_path / "p", name, batch_rows))
        assert all(0 < batch.height <= batch_rows for batch in batches)
        assert pl.concat(batches).equals(frame.filter(pl.col("split") == name))


def test_an_unknown_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match="dev"):
        next(iter_split(tmp_path, "dev"))


def test_a_second_run_after_an_interrupted_one_gives_the_same(tmp_path):
    facts, frame = prepared(tmp_path, DIFFERENT)
    (tmp_path / "p" / "slices").mkdir()
    (tmp_path / "p" / "slices" / "00000-part-00009.parquet").write_bytes(b"left by a killed run")
    assert prepare(tmp_path / "p-data", tmp_path / "p", CleanConfig(), SPLIT) == facts
    assert pl.read_parquet(tmp_path / "p" / "clean.parquet").equals(frame)
