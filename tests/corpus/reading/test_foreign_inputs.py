"""Inputs that other programs wrote: read where a rule suffices, otherwise an error says what they are."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
import subprocess
import zipfile

import orjson
import polars as pl
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.core.errors import InputError, MissingColumn, Unreadable
from reviewlm.corpus.reading.headerless import SHAPES
from reviewlm.corpus.reading.sources import source_names
from reviewlm.corpus.reading.table_formats import TABLE_FORMATS
from reviewlm.corpus.reading.wrappings import CONTAINERS, unwrap
from tests.corpus.data_sets import ingested
from tests.corpus.review_files import as_csv, json_lines, packed_tar, review
from tests.examples import examples

REVIEWS = [review(number) for number in range(30)]
FIELDS = ["review_id", "user_id", "stars", "text", "date"]


def rows_of(
    folder,
    name,
    content,
    **settings,
):
    (folder / name).write_bytes(content)
    return ingested([folder / name], folder / "out", **settings)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The reviews as they are read from JSON lines."""
    folder = tmp_path_factory.mktemp("plain")
    return rows_of(folder, "plain.jsonl", json_lines(REVIEWS))[1].select(FIELDS)


# Wrapped records


def typed_by_mongo(one):
    return {
        "_id": {"$oid": one["review_id"]},
        "user_id": one["user_id"],
        "stars": {"$numberInt": str(int(one["stars"]))},
        "text": one["text"],
        "date": {"$date": one["date"].replace(" ", "T") + "Z"},
    }


def entry_of_feed(one):
    return {
        "id": {"label": one["review_id"]},
        "author": {"uri": {"label": one["user_id"]}, "name": {"label": "x"}},
        "im:rating": {"label": str(int(one["stars"]))},
        "content": {"label": one["text"], "attributes": {"type": "text"}},
        "updated": {"label": one["date"]},
    }


def hit(one):
    without_id = {name: value for name, value in one.items() if name != "review_id"}
    return {
        "_index": "reviews",
        "_id": one["review_id"],
        "_score": 1.0,
        "_source": without_id,
    }


def item_of_dynamo(one):
    typed = {name: {"S": value} for name, value in one.items() if name != "stars"}
    return {"Item": {**typed, "stars": {"N": str(int(one["stars"]))}}}


def contained(path, records):
    content = records
    for name in reversed(path):
        content = {
            "total": len(records),
            name: content,
            "next": None,
        }
    return content


WRAPPED = {
    "mongo.jsonl": json_lines(map(typed_by_mongo, REVIEWS)),
    "mongo.json": orjson.dumps(list(map(typed_by_mongo, REVIEWS))),
    "elastic.jsonl": json_lines(map(hit, REVIEWS)),
    "dynamo.jsonl": json_lines(map(item_of_dynamo, REVIEWS)),
    "entries.jsonl": json_lines(map(entry_of_feed, REVIEWS)),
    "feed.json": orjson.dumps(contained(["feed", "entry"], list(map(entry_of_feed, REVIEWS)))),
    "answer.json": orjson.dumps(contained(["hits", "hits"], list(map(hit, REVIEWS)))),
    "pages.jsonl": json_lines(
        [contained(["reviews"], REVIEWS[at : at + 7]) for at in range(0, 30, 7)]
    ),
    "pretty.json": orjson.dumps(contained(["data"], REVIEWS), option=orjson.OPT_INDENT_2),
    "no_suffix": orjson.dumps(contained(["results"], REVIEWS)),
    "several.jsonl": b"".join(json.dumps(one).encode() for one in REVIEWS),
    "pairs.jsonl": b"\n".join(
        b"".join(json.dumps(one).encode() for one in REVIEWS[at : at + 2]) for at in range(0, 30, 2)
    ),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_wrapped_records_are_the_reviews_in_them(
    name,
    plain,
    tmp_path,
):
    _, rows, bad = rows_of(tmp_path, name, WRAPPED[name])
    assert bad.height == 0
    assert rows.select(FIELDS).equals(plain)
    assert not rows.select("source", "line").is_duplicated().any()


@pytest.mark.parametrize("path", CONTAINERS, ids=".".join)
def test_an_array_in_an_object_is_read_in_blocks_of_any_size(
    path,
    tmp_path,
    monkeypatch,
):
    monkeypatch.setattr("reviewlm.corpus.ingestion.ingest.BLOCK_BYTES", 300)
    content = orjson.dumps(contained(path, REVIEWS))
    _, rows, bad = rows_of(tmp_path, "page.json", content)
    assert (rows["review_id"].to_list(), bad.height) == ([one["review_id"] for one in REVIEWS], 0)


def test_an_object_without_records_among_pages_is_set_aside_whole(tmp_path):
    pages = [{"reviews": REVIEWS[:2]}, {"error": "limit [1] {"}, {"reviews": REVIEWS[2:3]}]
    _, rows, bad = rows_of(tmp_path, "pages.jsonl", json_lines(pages))
    assert rows.height == 3
    assert bad.select("reason", "raw").rows() == [("missing_text", orjson.dumps(pages[1]))]


def test_a_page_that_was_cut_off_is_refused(tmp_path):
    with pytest.raises(Unreadable, match="cut off"):
        rows_of(tmp_path, "page.json", orjson.dumps({"reviews": REVIEWS})[:-200])


def test_a_review_that_has_an_array_of_its_own_is_one_review(tmp_path):
    record = {
        **REVIEWS[0],
        "reviews": [REVIEWS[1]],
        "data": [{"text": "photo"}],
    }
    _, rows, _ = rows_of(tmp_path, "r.jsonl", json_lines([record]))
    assert rows["review_id"].to_list() == ["id-0000"]


def test_reviews_deeper_than_is_read_are_named_with_their_path(tmp_path):
    records = [{"page": 1, "shop": {"comments": [one]}} for one in REVIEWS]
    with pytest.raises(MissingColumn, match=r'\."shop"\."comments"\[\].*\n.*jq'):
        rows_of(tmp_path, "r.jsonl", json_lines(records))


def test_fields_of_other_names_are_found_in_wrapped_records(tmp_path):
    hits = [{"_id": "a", "_source": {"body": "Good soup.", "rating": 4}}]
    fields = {"text": "body", "stars": "rating"}
    _, rows, _ = rows_of(tmp_path, "r.jsonl", json_lines(hits), fields=fields)
    assert rows.select("review_id", "text", "stars").rows() == [("a", "Good soup.", 4.0)]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=6,
)


@given(json_values)
@examples(100)
def test_a_value_without_a_known_wrapping_stays_as_it_is(value):
    assert unwrap(value) == value


# Tables without a header

TEXTS = ['dr. goldberg offers ""everything"" i look for', "very slow, sadly", "good\\nfood"]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.title)
def test_a_well_known_table_without_a_header_is_read(shape, tmp_path):
    labels = [1, 2, 1] if shape.columns[0] == "label" else [1, 5, 2]
    title = '"a title",' if len(shape.columns) == 3 else ""
    lines = [f'"{n}",{title}"{text}"\n' for n, text in zip(labels, TEXTS, strict=True)]
    facts, rows, bad = rows_of(tmp_path, "train.csv", "".join(lines).encode())
    known = None if shape.columns[0] == "label" else [1.0, 5.0, 2.0]
    assert rows["stars"].to_list() == (known or [None] * 3)
    assert rows["text"].to_list() == [text.replace('""', '"') for text in TEXTS]
    assert (rows["line"].to_list(), bad.height) == ([1, 2, 3], 0)
    [entry] = [one for one in facts["account"]["entries"] if one["kind"] == "no header"]
    assert (entry["count"], entry["outcome"], shape.title in entry["detail"]) == (3, "noted", True)


HEADERLESS = {
    "a.csv": b"7,2020-01-01,the soup was a very secret thing\n" * 3,
    "a.tsv": b"u1\t4\tthe soup was a very secret thing\n" * 3,
    "a": b"u1\t4\tthe soup was a very secret thing\n" * 3,
    "long.csv": b"a,the soup was a very secret thing " + b"and good " * 40 + b"\n",
    "five.csv": b'"9","the soup was a very secret thing"\n' * 3,
}


@pytest.mark.parametrize("name", HEADERLESS)
def test_a_table_without_a_header_is_refused_without_a_word_of_its_reviews(name, tmp_path):
    with pytest.raises(InputError, match="no header") as caught:
        rows_of(tmp_path, name, HEADERLESS[name])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "header", ["id,comment", ",0,1", "0,1", "When was your visit?,What did you think of the food?"]
)
def test_names_of_columns_are_no_record(header, tmp_path):
    with pytest.raises(MissingColumn, match="There is no field 'text'"):
        rows_of(tmp_path, "a.csv", header.encode() + b"\n" + b"x," * header.count(",") + b"y\n")


def test_a_name_as_long_as_a_review_is_never_shown_whole(tmp_path):
    record = {"the soup was a very secret thing and the rest of it is private": 1}
    with pytest.raises(MissingColumn) as caught:
        rows_of(tmp_path, "a.jsonl", json_lines([record]))
    assert "private" not in str(caught.value)


# Table formats

MEMBERS = {
    "Delta Lake": "00000000000000000000.json",
    "Apache Hudi": "hoodie.properties",
    "Apache Iceberg": "v1.metadata.json",
    "Lance": "1.manifest",
    "Apache Paimon": "snapshot-1",
}


@pytest.mark.parametrize("known", TABLE_FORMATS, ids=lambda known: known.name)
@pytest.mark.parametrize(
    "given", ["table", ".", "table/data/*.jsonl", "table/data/a.jsonl", "table/data"]
)
def test_files_of_a_table_format_are_refused_wherever_the_input_begins(
    known,
    given,
    tmp_path,
    monkeypatch,
):
    (tmp_path / "table" / "data").mkdir(parents=True)
    (tmp_path / "table" / "data" / "a.jsonl").write_bytes(json_lines(REVIEWS))
    assert source_names([tmp_path])
    (tmp_path / "table" / known.folder).mkdir()
    (tmp_path / "table" / known.folder / MEMBERS[known.name]).touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Unreadable, match=known.name) as caught:
        source_names([given])
    assert "table" in caught.value.where


def test_an_archive_of_a_table_format_is_refused(tmp_path):
    members = {"t/a.jsonl": json_lines(REVIEWS), "t/_delta_log/0.json": b"{}"}
    with pytest.raises(Unreadable, match="Delta Lake"):
        rows_of(tmp_path, "t.tar", packed_tar(members, "w"))


def test_a_folder_named_metadata_is_no_table(tmp_path):
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "a.jsonl").write_bytes(json_lines(REVIEWS))
    assert len(source_names([tmp_path])) == 1


# Other kinds of input


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ("s3://bucket/reviews", "aws s3 cp"),
        ("https://example.org/reviews.csv?signature=secret", "curl"),
        ("gs://bucket/reviews", "gcloud storage cp"),
        ("hdfs://host/reviews", "hdfs dfs -get"),
        ("file:///data/reviews.csv", "--input /data/reviews.csv"),
        ("odd://place", "copy the files"),
    ],
)
def test_an_address_is_refused_with_the_command_that_fetches_it(given, command):
    with pytest.raises(Unreadable) as caught:
        source_names([given])
    assert command in caught.value.remedy
    assert "secret" not in str(caught.value)


def with_window(log, content):
    """A zstd frame whose head asks for a window of 2 ** log bytes, with its content not compressed."""
    head = b"\x28\xb5\x2f\xfd\x00" + bytes([(log - 10) << 3])
    return head + ((len(content) << 3) | 1).to_bytes(3, "little") + content


def excel():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as book:
        book.writestr("xl/workbook.xml", "<workbook/>")
    return out.getvalue()


def saved(method, frame):
    out = io.BytesIO()
    getattr(frame, method)(out)
    return out.getvalue()


LINES = json_lines(REVIEWS)
ZSTD = pyarrow.Codec("zstd").compress(LINES, asbytes=True)
BSON = b"\x20\0\0\0\x07_id\0" + b"\1" * 12 + b"\0"
NAMED = {
    "a window of 2 GiB": ("r.jsonl.zst", with_window(31, LINES), "zstd -d --long=31"),
    "text after gzip": ("r.jsonl.gz", gzip.compress(LINES) + LINES, "not compressed"),
    "text after bzip2": ("r.jsonl.bz2", bz2.compress(LINES) + LINES, "not compressed"),
    "text after xz": ("r.jsonl.xz", lzma.compress(LINES) + LINES, "not compressed"),
    "text after zstd": ("r.jsonl.zst", ZSTD + LINES, "not compressed"),
    "a workbook": ("r.xlsx", excel(), "workbook of Excel"),
    "Avro": ("r.avro", saved("write_avro", pl.DataFrame(REVIEWS)), "Avro"),
    "Feather": ("r.feather", saved("write_ipc", pl.DataFrame(REVIEWS)), "Feather"),
    "a pickle": ("r.pkl", b"\x80\x04\x95\x10", "pickle"),
    "BSON": ("r.bson", BSON, "bsondump"),
    "a corpus in one line": ("text8.txt", b"anarchism originated as " * 9_000, "fold -s"),
    "one without a suffix": ("text8", b"anarchism originated as " * 9_000, "fold -s"),
    "plain text": ("notes", b"Some words here.\nAnd there.\n", "end its name in .txt"),
    "a table": ("table", b"a;b;c\n1;2;3\n1;2;3\n", "3 fields between semicolons"),
}


@pytest.mark.parametrize("name", NAMED)
def test_an_input_of_another_kind_is_named(name, tmp_path):
    file, content, words = NAMED[name]
    with pytest.raises(InputError) as caught:
        rows_of(tmp_path, file, content)
    assert words in str(caught.value)


def test_a_window_of_128_mib_is_read(tmp_path):
    assert rows_of(tmp_path, "r.jsonl.zst", with_window(27, LINES))[1].height == 30


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed_files_that_follow_each_other_are_read_with_padding_after_them(pack, tmp_path):
    halves = pack(json_lines(REVIEWS[:9])) + pack(json_lines(REVIEWS[9:])) + b"\0" * 512
    assert rows_of(tmp_path, "r.jsonl.gz", halves)[1].height == 30


def test_one_long_document_among_others_is_set_aside_alone(tmp_path):
    content = b"word " * 30_000 + b"\nGood soup.\n"
    _, rows, bad = rows_of(tmp_path, "r.txt", content)
    assert (rows.height, bad["reason"].to_list()) == (1, ["too_long"])


def test_a_saved_data_set_of_hugging_face_is_named(tmp_path):
    (tmp_path / "data-00000-of-00001.arrow").touch()
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(Unreadable, match="load_from_disk"):
        source_names([tmp_path])


def test_a_month_in_the_name_of_a_folder_loses_no_review(tmp_path):
    (tmp_path / "in" / "date=2023-05").mkdir(parents=True)
    (tmp_path / "in" / "date=2023-05" / "r.jsonl").write_bytes(b'{"text": "Good soup."}\n')
    facts, rows, bad = ingested([tmp_path / "in"], tmp_path / "out")
    assert (rows["date"].to_list(), bad.height) == ([None], 0)
    [entry] = [one for one in facts["account"]["entries"] if one.get("odd")]
    assert (entry["count"], entry["kind"]) == (1, "folder without a day")


# Files that a command makes readable


def in_lines(write):
    return "".join(write(one) + "\n" for one in REVIEWS).encode()


def as_snap(one):
    """A record of the data sets of Stanford's SNAP."""
    return f"product/productId: p\nreview/userId: {one['user_id']}\nreview/text: Dish.\n"


CONVERTED = {
    "UTF-16": ("r.csv", as_csv(REVIEWS).decode().encode("utf-16")),
    "carriage returns": ("r.csv", as_csv(REVIEWS[2:5]).replace(b"\n", b"\r")),
    "a title before the header": ("r.csv", b"Export of May,\n\n" + as_csv(REVIEWS)),
    "a comment before the header": ("r.csv", b"# by Tool\n" + as_csv(REVIEWS)),
    "packed, with a comment": ("r.csv.gz", gzip.compress(b"# by Tool\n" + as_csv(REVIEWS))),
    "Python's dictionaries": ("r.json", in_lines(str)),
    "a name with a space": ("my r.json", in_lines(str)),
    "SNAP": ("r.txt", in_lines(as_snap)),
}
"""Files by their fault; the command of the error makes each readable."""


@pytest.mark.parametrize("fault", CONVERTED)
def test_the_command_of_an_error_makes_the_file_readable(tmp_path, fault):
    name, content = CONVERTED[fault]
    with pytest.raises(InputError) as caught:
        rows_of(tmp_path, name, content)

    before, redirect, rest = caught.value.remedy.partition(" > reviews")
    command = re.search(r"(?:iconv|tr|tail|zcat|python3).*", before, re.DOTALL)[0]
    made = rest.partition(";")[0]
    subprocess.run(
        f"{command}{redirect}{made}",
        shell=True,
        cwd=tmp_path,
        check=True,
    )
    settings = {"fields": {"text": "review/text"}} if fault == "SNAP" else {}
    count = 3 if fault == "carriage returns" else 30
    [converted] = tmp_path.glob("reviews.*")
    assert ingested([converted], tmp_path / "again", **settings)[1].height == count


@pytest.mark.parametrize("line", ["{},", "\x1e{}", "{} ,"])
def test_lines_with_a_comma_or_record_sign_are_read(
    tmp_path,
    plain,
    line,
):
    content = "".join(line.format(json.dumps(one)) + "\n" for one in REVIEWS).encode()
    assert rows_of(tmp_path, "r.jsonl", content)[1].select(FIELDS).equals(plain)


def test_a_space_after_each_delimiter_is_no_part_of_a_field(tmp_path):
    content = b'review_id, stars, text\na, 4, "Soup, warm."\nb, 5, Tea.\n'
    rows = rows_of(tmp_path, "r.csv", content)[1]
    assert rows["text"].to_list() == ["Soup, warm.", "Tea."]


@pytest.mark.parametrize(
    ("page", "path"),
    [
        (lambda one: {"review": one}, '."review"'),
        (lambda one: {"features": [{"properties": {"comment": one["text"]}}]}, '."features"[]'),
        (lambda one: {"pages": [{"reviewText": one["text"]}], "next": 2}, '."pages"[]'),
    ],
)
def test_reviews_deeper_in_a_record_are_found_under_names_of_other_programs(
    tmp_path,
    page,
    path,
):
    with pytest.raises(MissingColumn) as caught:
        rows_of(tmp_path, "r.jsonl", in_lines(lambda one: json.dumps(page(one))))
    assert f"jq -c '{path}" in caught.value.remedy
