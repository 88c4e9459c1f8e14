"""The real files, in the shapes that they are passed around in."""

import gzip

import orjson
import polars as pl
import pytest

from core.config.sections.data import CleanConfig, SplitConfig
from core.config.sections.source import SourceConfig
from corpus.cleaning.clean import prepare
from corpus.cleaning.normalise import normalise
from corpus.ingestion.ingest import ingest, iter_parts
from corpus.schema import FIELDS
from models.text.normal_form import NormalForm

pytestmark = pytest.mark.real_data


def table(tmp_path, path):
    facts = ingest([path], tmp_path / "out" / path.name, SourceConfig())
    return facts, pl.concat(iter_parts(tmp_path / "out" / path.name))


def test_the_csv_with_an_index_equals_the_json_lines_where_both_have_the_review(tmp_path, real_data):
    _, lines = table(tmp_path, real_data / "yelp_open_2022_first5000.jsonl.gz")
    _, csv = table(tmp_path, real_data / "odd_shapes" / "yelp_open_2022_index_column.csv.gz")
    assert (lines.height, csv.height) == (5000, 6000)
    fields = list(FIELDS)
    shared = csv.join(lines.select("review_id"), on="review_id", how="semi").select(fields).sort("review_id")
    lines = lines.select(fields).sort("review_id")
    assert shared.height == 5000
    # Whoever exported the CSV turned the line ends of two reviews from CR LF into LF: the file itself has no CR.
    assert (shared["text"] != lines["text"]).sum() == lines["text"].str.contains("\r", literal=True).sum() == 2
    assert shared.equals(lines.with_columns(pl.col("text").str.replace_all("\r\n", "\n", literal=True)))


def test_the_same_real_rows_have_one_content_hash_in_every_format(tmp_path, real_data):
    facts, frame = table(tmp_path, real_data / "yelp_open_2022_first5000.jsonl.gz")
    plain = frame.select(FIELDS).with_columns(pl.col("date").dt.to_string("%Y-%m-%d %H:%M:%S"))
    plain.write_csv(tmp_path / "r.csv")
    plain.write_ndjson(tmp_path / "r.jsonl")
    plain.write_parquet(tmp_path / "r.parquet")
    for name in ("r.csv", "r.jsonl", "r.parquet"):
        assert table(tmp_path, tmp_path / name)[0]["content_sha256"] == facts["content_sha256"], name


def test_the_pretty_array_with_repeated_ids_and_other_dates_is_read(tmp_path, real_data):
    path = real_data / "odd_shapes" / "yelp_open_2018_pretty_array.json.gz"
    facts, frame = table(tmp_path, path)
    assert (facts["records"], facts["rows"], facts["duplicates"], facts["quarantined"]) == (752, 736, 16, 0)
    by_hand = {}
    for row in orjson.loads(gzip.decompress(path.read_bytes())):
        day, month, year = row["date"].split("-")
        best = by_hand.get(row["review_id"])
        if best is None or (year, month, day) >= best[0]:
            by_hand[row["review_id"]] = ((year, month, day), row["text"])
    assert dict(frame.select("review_id", "text").iter_rows()) == {name: text for name, (_, text) in by_hand.items()}


def test_the_labelled_csv_is_read_as_its_description_says(tmp_path, real_data):
    facts, frame = table(tmp_path, real_data / "kaggle_yelp_10k.csv.gz")
    assert (facts["rows"], facts["quarantined"]) == (10_000, 0)
    assert (facts["date_min"][:10], facts["date_max"][:10]) == ("2005-04-18", "2013-01-05")
    assert dict(frame["stars"].value_counts().iter_rows()) == {1: 749, 2: 927, 3: 1461, 4: 3526, 5: 3337}
    words = frame["text"].str.extract_all(r"\S+").list.len().sum()
    assert words == pytest.approx(1_310_396, rel=1e-4)  # its author's words are Python's str.split
    prepared = prepare(tmp_path / "out" / "kaggle_yelp_10k.csv.gz", tmp_path / "clean", CleanConfig(), SplitConfig())
    assert sum(prepared["duplicates"]["train"].values()) + prepared["duplicates"]["validation"]["of_test"] == 2


def test_plain_sentences_are_documents(tmp_path, real_data):
    facts, frame = table(tmp_path, real_data / "shen2017_sentences" / "sentiment.dev.0.txt.gz")
    assert facts["rows"] == 25_278
    assert frame["text"].n_unique() == 23_746
    assert frame["review_id"].n_unique() == 25_278


def test_both_normal_forms_agree_on_real_text(tmp_path, real_data):
    with gzip.open(real_data / "yelp_crawl_chicagoland.jsonl.gz") as file:
        texts = [orjson.loads(next(file))["text"] for _ in range(3000)]
    form = NormalForm()
    cleaned = normalise(pl.Series(texts), form)
    assert cleaned.to_list() == [form.apply(text) for text in texts]
    assert cleaned.str.contains("&#39;", literal=True).sum() == 0


DESCRIBED = {
    "yelp_crawl_chicagoland.jsonl.gz": (
        116_253, ("2005-03-14", "2016-11-29"),
        {1: 11745, 2: 10667, 2.5: 4, 3: 14935, 3.5: 178, 4: 33014, 4.5: 205, 5: 45505},
    ),
    "yelp_open_2022_first5000.jsonl.gz": (
        5_000, ("2005-03-12", "2018-10-04"), {1: 555, 2: 385, 3: 593, 4: 1246, 5: 2221}
    ),
    "odd_shapes/yelp_open_2022_index_column.csv.gz": (
        6_000, ("2005-03-09", "2018-10-04"), {1: 651, 2: 449, 3: 700, 4: 1520, 5: 2680}
    ),
    "shen2017_sentences/sentiment.dev.1.txt.gz": (38_205, (None, None), {None: 38_205}),
    "ptb_lm_benchmark/train.txt.gz": (42_068, (None, None), {None: 42_068}),
    "ptb_lm_benchmark/valid.txt.gz": (3_370, (None, None), {None: 3_370}),
    "ptb_lm_benchmark/test.txt.gz": (3_761, (None, None), {None: 3_761}),
}
"""Rows, first and last day, and reviews by stars, as the description of these files gives them."""


@pytest.mark.parametrize("name", DESCRIBED)
def test_a_file_holds_what_its_description_says(tmp_path, real_data, name):
    rows, days, stars = DESCRIBED[name]
    facts, frame = table(tmp_path, real_data / name)
    assert (facts["records"], facts["rows"], facts["quarantined"], facts["duplicates"]) == (rows, rows, 0, 0)
    assert tuple(day and day[:10] for day in (facts["date_min"], facts["date_max"])) == days
    assert dict(frame["stars"].value_counts().iter_rows()) == stars
