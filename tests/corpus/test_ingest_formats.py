"""The same reviews give the same table, whatever file they come in."""

import csv
import gzip
import io
import json
import subprocess
import tarfile
import zipfile

import orjson
import polars as pl
import pyarrow
import pytest

from corpus.ingest import ingest, iter_parts
from corpus.readers import expand_inputs
from corpus.schema import COLUMNS
from reviewlm.config import SourceConfig
from reviewlm.errors import EmptyInput, MissingColumn, Unreadable

TEXTS = ['Great "tacos",\nfresh & hot', "Schön, café ☕ 😀", "plain", " spaces kept ", "a, b; c\td", "<eos> stays text"]


def review(number):
    return {
        "review_id": f"id-{number:04d}", "user_id": f"u{number % 7}", "business_id": f"b{number % 5}",
        "stars": float(number % 5 + 1), "useful": number % 3, "funny": 0, "cool": -1 if number == 4 else number,
        "text": f"{TEXTS[number % len(TEXTS)]} {number}",
        "date": f"2018-07-{number % 28 + 1:02d} 22:09:{number % 60:02d}",
    }


REVIEWS = [review(number) for number in range(300)]


def json_lines(reviews=REVIEWS):
    return b"".join(orjson.dumps(row) + b"\n" for row in reviews)


def as_csv(reviews=REVIEWS, delimiter=",", index=False):
    out = io.StringIO(newline="")
    names = [*([""] if index else []), *reviews[0], "type"]
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(names)
    for number, row in enumerate(reviews):
        writer.writerow([*([number] if index else []), *row.values(), "review"])
    return out.getvalue().encode()


def as_parquet(reviews=REVIEWS):
    out = io.BytesIO()
    frame = pl.DataFrame(reviews).with_columns(pl.col("date").str.to_datetime())
    frame.write_parquet(out, row_group_size=70)
    return out.getvalue()


def packed_tar(members, mode="w:gz"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def packed_zip(members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def zstd(content):
    return pyarrow.Codec("zstd").compress(content, asbytes=True)


BUSINESS = b'{"business_id": "x", "name": "not a review"}\n'
YELP = {
    "._yelp_academic_dataset_review.json": b"\x00\x05\x16\x07 resource fork",
    "Dataset_User_Agreement.pdf": b"%PDF",
    "yelp_academic_dataset_business.json": BUSINESS,
    "yelp_academic_dataset_review.json": json_lines(),
    "yelp_academic_dataset_user.json": BUSINESS,
}
NESTED = [
    {**{k: v for k, v in row.items() if k not in ("useful", "funny", "cool")},
     "votes": {name: row[name] for name in ("useful", "funny", "cool")}}
    for row in REVIEWS
]
FILES = {
    "reviews.json": json_lines(),
    "reviews.jsonl": json_lines(),
    "no_suffix": json_lines(),
    "crlf.jsonl": json_lines().replace(b"\n", b"\r\n"),
    "bom.jsonl": b"\xef\xbb\xbf" + json_lines(),
    "escaped.jsonl": "".join(json.dumps(row) + "\n" for row in REVIEWS).encode(),
    "blank_lines.jsonl": json_lines().replace(b"\n", b"\n\n  \n"),
    "no_final_newline.jsonl": json_lines().rstrip(b"\n"),
    "extra_key.jsonl": json_lines([{**row, "photos": ["x"], "elite": None} for row in REVIEWS]),
    "nested_votes.jsonl": json_lines(NESTED),
    "text_numbers.jsonl": json_lines([{**r, "stars": str(r["stars"]), "cool": str(r["cool"])} for r in REVIEWS]),
    "whole_stars.jsonl": json_lines([{**row, "stars": int(row["stars"])} for row in REVIEWS]),
    "iso_dates.jsonl": json_lines([{**row, "date": row["date"].replace(" ", "T") + "Z"} for row in REVIEWS]),
    "offset_dates.jsonl": json_lines([{**row, "date": row["date"] + "+00:00"} for row in REVIEWS]),
    "array.json": orjson.dumps(REVIEWS),
    "pretty.json": orjson.dumps(REVIEWS, option=orjson.OPT_INDENT_2),
    "reviews.csv": as_csv(),
    "index.csv": as_csv(index=True),
    "bom.csv": b"\xef\xbb\xbf" + as_csv(),
    "tabs.tsv": as_csv(delimiter="\t"),
    "semicolons.csv": as_csv(delimiter=";"),
    "reviews.parquet": as_parquet(),
    "reviews.json.gz": gzip.compress(json_lines()),
    "two_members.json.gz": gzip.compress(json_lines()[:5000]) + gzip.compress(json_lines()[5000:]),
    "reviews.csv.gz": gzip.compress(as_csv()),
    "misnamed.json": gzip.compress(json_lines()),
    "reviews.json.zst": zstd(json_lines()),
    "reviews.csv.zst": zstd(as_csv()),
    "yelp.tar": packed_tar(YELP, "w"),
    "yelp.tgz": packed_tar(YELP),
    "yelp.tar.gz": packed_tar(YELP),
    "yelp.tar.zst": zstd(packed_tar(YELP, "w")),
    "inner_gz.tar": packed_tar({"a_review.json.gz": gzip.compress(json_lines())}, "w"),
    "other_name.tgz": packed_tar({"business.json": BUSINESS, "yelp.csv": as_csv()}),
    "parquet.tgz": packed_tar({"review.parquet": as_parquet()}),
    "yelp.zip": packed_zip({"__MACOSX/._review.json": b"x", **YELP}),
    "yelp.csv.zip": packed_zip({"yelp.csv": as_csv()}),
}


def ingested(tmp_path, *files, name="out", **settings):
    paths = []
    for file, content in files:
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        paths.append(path)
    folder = tmp_path / name
    facts = ingest(paths, folder, SourceConfig(**settings))
    return facts, pl.concat(iter_parts(folder)), pl.read_parquet(folder / "quarantine.parquet")


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


def test_several_files_are_read_in_order_and_named_below_their_common_folder(tmp_path, expected):
    files = [("in/a/x.jsonl", json_lines(REVIEWS[:100])), ("in/b/x.csv", as_csv(REVIEWS[100:]))]
    facts, frame, _ = ingested(tmp_path, *files)
    assert frame["source"].unique(maintain_order=True).to_list() == ["a/x.jsonl", "b/x.csv"]
    assert facts["content_sha256"] == expected[0]["content_sha256"]
    again = ingest([tmp_path / "in"], tmp_path / "again", SourceConfig())
    assert again["content_sha256"] == expected[0]["content_sha256"]


def test_a_folder_of_the_open_dataset_gives_its_reviews_only(tmp_path, expected):
    for name, content in YELP.items():
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(content)
    assert [path.name for path in expand_inputs([tmp_path / "in"])] == ["yelp_academic_dataset_review.json"]
    facts = ingest([tmp_path / "in"], tmp_path / "out", SourceConfig())
    assert facts["content_sha256"] == expected[0]["content_sha256"]


def test_globs_are_expanded_once_and_in_order(tmp_path):
    for name in ("b.csv", "a.csv", "c.txt"):
        (tmp_path / name).write_text("text\nx\n")
    assert expand_inputs([tmp_path / "*.csv", tmp_path / "a.csv"]) == [tmp_path / "a.csv", tmp_path / "b.csv"]


def test_missing_files_and_empty_globs_are_named(tmp_path):
    with pytest.raises(Unreadable, match=r"nowhere\.json"):
        expand_inputs([tmp_path / "nowhere.json"])
    with pytest.raises(Unreadable, match="No file matches"):
        expand_inputs([tmp_path / "*.json"])
    with pytest.raises(EmptyInput, match="No input"):
        expand_inputs([])


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
