"""Yelp's table of businesses, in every packing, and joined to reviews; and what is said of a table that is none."""

import gzip

import orjson
import polars as pl
import pyarrow as pa
import pytest

from reviewlm.core.config.sections.data import CleanConfig, SourceConfig, SplitConfig
from reviewlm.core.errors import EmptyInput, MissingColumn, Unreadable
from reviewlm.corpus.cleaning.business import read_businesses
from reviewlm.corpus.cleaning.clean import prepare
from reviewlm.corpus.cleaning.clean_table import CLEAN
from tests.corpus.data_sets import ingest
from tests.corpus.review_files import packed_tar

ROWS = [
    {
        "business_id": "b1",
        "name": "Café Ö",
        "city": "Tucson",
        "stars": 4.5,
        "categories": "Food, Coffee & Tea",
    },
    {
        "business_id": "b2",
        "name": "Gym",
        "city": "",
        "categories": None,
        "attributes": {"WiFi": "no"},
    },
    {
        "business_id": "b3",
        "name": "Bar",
        "city": "Reno",
        "categories": "Bars, Nightlife",
    },
]
TABLE = [
    ("b1", "Café Ö", "Tucson", "Food, Coffee & Tea"),
    ("b2", "Gym", "", None),
    ("b3", "Bar", "Reno", "Bars, Nightlife"),
]


def lines(rows):
    return b"\n".join(orjson.dumps(row) for row in rows) + b"\n"


@pytest.mark.parametrize(
    "content",
    [
        lines(ROWS),
        b"\xef\xbb\xbf" + lines(ROWS).replace(b"\n", b"\r\n\r\n"),
        gzip.compress(lines(ROWS)),
        pa.compress(lines(ROWS), codec="zstd", asbytes=True),
    ],
    ids=["plain", "BOM, CRLF and blank lines", "gz", "zst"],
)
def test_the_table_is_read_however_it_is_packed(tmp_path, content):
    (tmp_path / "table").write_bytes(content)
    found = read_businesses(tmp_path / "table")
    assert found.table.rows() == TABLE
    assert found.table.columns == ["business_id", "business_name", "city", "categories"]
    assert (found.repeated, found.without_id) == (0, 0)


@pytest.fixture
def odd_businesses(tmp_path):
    """Businesses of which one comes twice, with two more that have no id."""
    rows = [
        *ROWS,
        {**ROWS[0], "name": "New"},
        {"name": "no id"},
        {"business_id": "", "name": "empty id"},
    ]
    (tmp_path / "b.json").write_bytes(lines(rows))
    return tmp_path / "b.json"


def test_of_a_repeated_id_the_last_counts(odd_businesses, caplog):
    found = read_businesses(odd_businesses)
    names = dict(found.table.select("business_id", "business_name").rows())
    assert names == {
        "b1": "New",
        "b2": "Gym",
        "b3": "Bar",
    }
    assert found.repeated == 1
    assert "1 repeated business ids" in caplog.text


def test_businesses_without_an_id_are_left_out(odd_businesses):
    found = read_businesses(odd_businesses)
    assert found.without_id == 2
    assert sorted(found.table["business_id"]) == ["b1", "b2", "b3"]


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (None, Unreadable, "cannot be read.*source.business"),
        (b"", EmptyInput, "is empty"),
        (b"\n\n", EmptyInput, "is empty"),
        (
            lines([{"review_id": "r", "text": "t"}]),
            MissingColumn,
            "no field 'business_id'.*review_id, text",
        ),
        (b"business_id,name\n1,2\n", Unreadable, "not a JSON object.*line 1"),
        (lines(ROWS) + b'{"business_id": "b4", "na', Unreadable, "not a JSON object.*line 4"),
        (lines(ROWS) + b"[1]\n", Unreadable, "not a JSON object.*line 4"),
        (
            lines([{"business_id": [5]}]),
            Unreadable,
            "'business_id' of a business is not text.*line 1.*5",
        ),
        (lines([{"business_id": "b", "categories": [1]}]), Unreadable, "'categories'.*line 1"),
        (gzip.compress(lines(ROWS))[:-9], Unreadable, "damaged or was cut off"),
        (
            packed_tar({"yelp_academic_dataset_business.json": lines(ROWS)}),
            Unreadable,
            "in an archive",
        ),
        (
            pa.compress(lines(ROWS), codec="zstd", asbytes=True)[:-9],
            Unreadable,
            "cut off|cannot be read",
        ),
        (lines(ROWS).decode().encode("utf-16"), Unreadable, "not a JSON object.*line 1"),
    ],
    ids=range(13),
)
def test_what_is_no_such_table_is_refused_with_its_place(
    tmp_path,
    content,
    error,
    words,
):
    if content is not None:
        (tmp_path / "b").write_bytes(content)
    with pytest.raises(error, match=f"(?s){words}"):
        read_businesses(tmp_path / "b")


@pytest.fixture
def with_businesses(tmp_path):
    """Facts and tables of reviews that were prepared without and with their businesses."""
    names = ["b1", "b2", "b3", "b4", None]
    reviews = [
        {
            "review_id": f"r{number}",
            "text": f"text {number}",
            "stars": 1,
            "business_id": names[number % 5],
        }
        for number in range(200)
    ]
    (tmp_path / "r.jsonl").write_bytes(lines(reviews))
    (tmp_path / "b.json").write_bytes(lines(ROWS))
    ingest([tmp_path / "r.jsonl"], tmp_path / "data", SourceConfig())
    found = {}
    for name, business in (("plain", None), ("with", tmp_path / "b.json")):
        facts = prepare(
            tmp_path / "data",
            tmp_path / name,
            CleanConfig(),
            SplitConfig(),
            business=business,
        )
        found[name] = facts, pl.read_parquet(tmp_path / name / "clean.parquet")
    return found


GAINED = ["business_name", "city", "categories"]


def test_reviews_get_the_columns_of_their_business(with_businesses):
    facts, table = with_businesses["with"]
    assert facts["business"] == {
        "businesses": 3,
        "repeated": 0,
        "without_id": 0,
        "unmatched": 80,
    }
    known = {name: (title, *rest) for name, title, *rest in TABLE}
    for name, *values in table.select("business_id", *GAINED).iter_rows():
        assert tuple(values) == known.get(name, (None, None, None))


def test_reviews_with_a_business_stay_where_they_were(with_businesses):
    (plain, before), (facts, after) = with_businesses["plain"], with_businesses["with"]
    assert {
        **plain,
        "business": facts["business"],
        "certificate": facts["certificate"],
    } == facts
    assert before.schema == after.schema == pl.Schema(CLEAN)
    assert before.drop(GAINED).equals(after.drop(GAINED))
    assert before.select(GAINED).null_count().row(0) == (200, 200, 200)
