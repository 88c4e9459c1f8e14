"""The same reviews give the same table, whatever file they come in."""

import gzip
import io
import os
import subprocess
from pathlib import Path

import polars as pl
import pytest

from core.config.sections.source import SourceConfig
from core.errors import EmptyInput, MissingColumn, Unreadable
from corpus.ingestion.ingest import ingest
from corpus.reading.sources import source_names
from corpus.schema import COLUMNS
from tests.corpus.review_files import FILES, REVIEWS, YELP, as_csv, ingested, json_lines, zstd


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


@pytest.mark.parametrize("field", ["review_id", "user_id", "stars", "useful", "text", "date"])
def test_the_content_hash_sees_a_change_in_any_field(tmp_path, expected, field):
    value = {"stars": 2.5, "useful": 77, "date": "2001-01-01"}.get(field, "changed")
    changed = [{**row, field: value} if row["review_id"] == "id-0042" else row for row in REVIEWS]
    facts, _, _ = ingested(tmp_path, ("reviews.jsonl", json_lines(changed)))
    assert facts["content_sha256"] != expected[0]["content_sha256"]


def test_plain_text_equals_json_lines_with_nothing_but_text(tmp_path):
    texts = ["first document", "second — with ☕", "first document", "third"]
    one = ingested(tmp_path, ("a.txt", ("\n".join(texts) + "\n\n").encode()), name="txt")
    two = ingested(tmp_path, ("b.jsonl", json_lines([{"text": text} for text in texts])), name="json")
    three = ingested(tmp_path, ("c.csv", ("text\n" + "\n".join(texts)).encode()), name="csv")
    assert one[0]["content_sha256"] == two[0]["content_sha256"] == three[0]["content_sha256"]
    assert one[1]["text"].to_list() == texts
    assert one[1]["review_id"].n_unique() == 4
    assert one[1]["stars"].null_count() == one[1]["date"].null_count() == 4


def test_json_lines_in_a_txt_file_are_recognised(tmp_path, expected):
    facts, _, _ = ingested(tmp_path, ("reviews.txt", json_lines()))
    assert facts["content_sha256"] == expected[0]["content_sha256"]


def test_a_real_zstd_file_of_several_frames_is_read(tmp_path, expected):
    tool = subprocess.run(["sh", "-c", "command -v zstd"], capture_output=True, text=True).stdout.strip()
    pack = zstd if not tool else lambda data: subprocess.run([tool, "-q", "-c"], input=data, capture_output=True).stdout
    cut = json_lines().index(b"\n", 9000) + 1
    facts, _, _ = ingested(tmp_path, ("r.jsonl.zst", pack(json_lines()[:cut]) + pack(json_lines()[cut:])))
    assert facts["content_sha256"] == expected[0]["content_sha256"]


def test_several_files_are_read_in_order_and_have_the_content_of_one(tmp_path, expected):
    files = [("in/a/x.jsonl", json_lines(REVIEWS[:100])), ("in/b/x.csv", as_csv(REVIEWS[100:]))]
    facts, frame, _ = ingested(tmp_path, *files)
    assert frame["source"].unique(maintain_order=True).to_list() == ["x.jsonl", "x.csv"]
    assert frame["review_id"].to_list() == expected[1]["review_id"].to_list()
    assert facts["content_sha256"] == expected[0]["content_sha256"]
    again = ingest([tmp_path / "in"], tmp_path / "again", SourceConfig())
    assert again["content_sha256"] == expected[0]["content_sha256"]
    assert [source["name"] for source in again["sources"]] == ["a/x.jsonl", "b/x.csv"]


def test_a_folder_of_the_open_dataset_gives_its_reviews_only(tmp_path, expected):
    for name, content in YELP.items():
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(content)
    assert [path.name for path in source_names([tmp_path / "in"])] == ["yelp_academic_dataset_review.json"]
    facts = ingest([tmp_path / "in"], tmp_path / "out", SourceConfig())
    assert facts["content_sha256"] == expected[0]["content_sha256"]


def test_globs_are_expanded_once_and_in_order(tmp_path):
    for name in ("b.csv", "a.csv", "c.txt"):
        (tmp_path / name).write_text("text\nx\n")
    assert list(source_names([tmp_path / "*.csv", tmp_path / "a.csv"])) == [tmp_path / "a.csv", tmp_path / "b.csv"]


def test_missing_files_and_empty_globs_are_named(tmp_path):
    with pytest.raises(Unreadable, match=r"nowhere\.json"):
        source_names([tmp_path / "nowhere.json"])
    with pytest.raises(Unreadable, match="No file matches"):
        source_names([tmp_path / "*.json"])
    with pytest.raises(EmptyInput, match="No input"):
        source_names([])


@pytest.mark.parametrize(
    "date", ["2018-07-07", "07-07-2018", "2018-07-07T00:00:00Z", "2018-07-07 00:00:00", "2018-07-07T02:00:00+02:00",
             "2018-07-07 00:00:00.000", "2018-07-07T00:00"],
)
def test_all_date_shapes_mean_the_same(tmp_path, date):
    _, frame, quarantine = ingested(tmp_path, ("r.jsonl", json_lines([{**REVIEWS[0], "date": date}])))
    assert quarantine.is_empty()
    assert str(frame["date"][0]) == "2018-07-07 00:00:00"


def test_absent_fields_are_null(tmp_path):
    _, frame, quarantine = ingested(tmp_path, ("r.csv", b"review_id,text,stars,user_id\na,hello,,\nb,,3,u\n"))
    assert quarantine.is_empty()
    assert frame.select("stars", "user_id", "date", "useful", "text").rows() == [
        (None, None, None, None, "hello"), (3.0, "u", None, None, "")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("r.csv", b"review_id,stars,body\na,1,hello\n"),
        ("r.jsonl", b'{"review_id":"a","stars":1,"body":"x"}\n'),
        ("r.json", b'[{"review_id":"a","stars":1,"body":"x"}]'),
    ],
)
def test_a_file_without_text_names_the_columns_that_are_there(tmp_path, name, content):
    with pytest.raises(MissingColumn, match="review_id, stars, body"):
        ingested(tmp_path, (name, content))


def test_a_parquet_file_without_text_names_its_columns(tmp_path):
    out = io.BytesIO()
    pl.DataFrame({"review_id": ["a"], "body": ["x"]}).write_parquet(out)
    with pytest.raises(MissingColumn, match="review_id, body"):
        ingested(tmp_path, ("r.parquet", out.getvalue()))


def test_the_progress_reaches_all_bytes_of_all_files(tmp_path):
    for name in ("a.jsonl", "b.csv.gz"):
        (tmp_path / name).write_bytes(json_lines() if name == "a.jsonl" else gzip.compress(as_csv(REVIEWS[:9])))
    seen = []
    paths = [tmp_path / "a.jsonl", tmp_path / "b.csv.gz"]
    ingest(paths, tmp_path / "out", SourceConfig(), lambda *news: seen.append(news))
    assert seen[-1] == (309, sum(path.stat().st_size for path in paths), sum(path.stat().st_size for path in paths))
    assert [news[1] for news in seen] == sorted(news[1] for news in seen)


def test_names_that_are_not_utf_8_are_shown_with_question_marks(tmp_path, expected):
    path = os.fsencode(tmp_path) + b"/caf\xe9.jsonl"
    with open(path, "wb") as file:
        file.write(json_lines())
    facts = ingest([Path(os.fsdecode(path))], tmp_path / "out", SourceConfig())
    assert facts["sources"][0]["name"] == "caf?.jsonl"
    assert facts["content_sha256"] == expected[0]["content_sha256"]


def test_a_latin_1_header_without_text_is_named(tmp_path):
    with pytest.raises(MissingColumn, match=r"id, caf\?"):
        ingested(tmp_path, ("r.csv", b"id,caf\xe9\n1,2\n"))
