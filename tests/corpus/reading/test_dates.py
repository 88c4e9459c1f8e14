"""Dates, ids and names of sources are read in their documented forms."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.errors import Unreadable
from reviewlm.corpus.ingestion.ingest import iter_parts
from reviewlm.corpus.reading.dates import FORMS, read_dates
from reviewlm.corpus.reading.sources import source_names
from tests.corpus import data_sets
from tests.corpus.data_sets import ingest
from tests.corpus.review_files import in_formats
from tests.examples import examples

NOW = datetime(
    2024,
    6,
    1,
    12,
    tzinfo=UTC,
)
MAY = datetime(
    2024,
    5,
    31,
    18,
    30,
)
FORMATS = list(in_formats([{"text": "a"}]))


def read(*written):
    return read_dates(pl.Series("date", written, dtype=pl.String), NOW).to_list()


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2024-05-31", datetime(2024, 5, 31)),
        ("31-05-2024", datetime(2024, 5, 31)),
        ("2024-05-31 18:30", MAY),
        ("2024-05-31T18:30:00", MAY),
        ("2024-05-31 18:30:00.250", MAY.replace(microsecond=250_000)),
        ("2024-05-31T18:30:00Z", MAY),
        ("2024-05-31 18:30:00 UTC", MAY),
        ("2024-05-31T20:30:00+02:00", MAY),
        ("2024-05-31 20:30:00+02", MAY),
        ("2024-05-31 13:30:00.5-0500", MAY.replace(microsecond=500_000)),
        ("31-05-2024 18:30", MAY),
        ("2024/05/31", datetime(2024, 5, 31)),
        ("2024.5.31 18:30", MAY),
        ("31/05/2024 6:30 PM", MAY),
        ("2024-05-31 06:30:00 pm", MAY),
        ("31-05-2024 18:30:00", MAY),
        ("1717180200", MAY),
        ("1717180200.0", MAY),
        ("1717180200000", MAY),
        ("1.7171802e+12", MAY),
        ("1717180200000000", MAY),
        ("1717180200000000000", MAY),
        ("1717180200.5", MAY.replace(microsecond=500_000)),
        ("45443", datetime(2024, 5, 31)),
        ("45443.770833333", MAY),
        ("45443.0", datetime(2024, 5, 31)),
        ("19874", datetime(2024, 5, 31)),
        ("31 May 2024", datetime(2024, 5, 31)),
        ("31st of May 2024", datetime(2024, 5, 31)),
        ("31-May-2024", datetime(2024, 5, 31)),
        ("May 31, 2024", datetime(2024, 5, 31)),
        ("may 31st, 2024 at 6:30 PM", MAY),
        ("Friday, May 31, 2024", datetime(2024, 5, 31)),
        ("Fri, 31 May 2024 18:30:00 GMT", MAY),
        ("Fri, 31 May 2024 20:30:00 +0200", MAY),
        ("Fri May 31 18:30:00 2024", MAY),
        ("Fri May 31 18:30:00 +0000 2024", MAY),
        ("2024-May-31", datetime(2024, 5, 31)),
        ("Sept. 3, 2021", datetime(2021, 9, 3)),
        (
            "3 October 2021 08:05",
            datetime(
                2021,
                10,
                3,
                8,
                5,
            ),
        ),
    ],
)
def test_documented_forms_are_read_as_utc(written, moment):
    assert read(written, None, "2020-02-02 02:02:02") == [
        moment,
        None,
        datetime(
            2020,
            2,
            2,
            2,
            2,
            2,
        ),
    ]


@pytest.mark.parametrize(
    "written",
    [
        *("31/05/24", "May 2024", "2024", "Mayor 3, 2024", "30 February 2024", "31 Mai 2024"),
        *(
            "7304",
            "30000",
            "99999",
            "45443,5",
            "3 May 24",
            "May 31, 2024 18:30 PST",
            "0",
            "12345678",
        ),
    ],
)
def test_what_could_be_another_date_is_none(written):
    assert read(written) == [None]


@given(st.dates(datetime(1990, 1, 1).date(), datetime(2024, 5, 30).date()))
@examples(100)
def test_a_day_of_a_spreadsheet_is_the_day_that_python_counts(day):
    sheet = (day - datetime(1899, 12, 30).date()).days
    unix = (day - datetime(1970, 1, 1).date()).days
    moment = datetime(day.year, day.month, day.day)
    assert read(str(sheet), str(unix), f"{day:%d %B %Y}", f"{day:%b %d, %Y}") == [moment] * 4


@given(
    st.datetimes(datetime(1990, 1, 2), datetime(2024, 5, 30)),
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from(["s", "ms", "us", "ns"]),
)
@examples(100)
def test_a_moment_is_the_same_in_each_way_of_writing_it(
    moment,
    minutes,
    unit,
):
    """Python's calendar says which moment each is."""
    zoned = moment.replace(tzinfo=UTC).astimezone(timezone(timedelta(minutes=minutes)))
    micro = (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)
    number = {
        "s": micro // 10**6,
        "ms": micro // 1000,
        "us": micro,
        "ns": micro * 1000,
    }[unit]
    cut = {
        "s": 10**6,
        "ms": 1000,
        "us": 1,
        "ns": 1,
    }[unit]
    as_number = moment - timedelta(microseconds=micro % cut)
    assert read(
        moment.isoformat(), moment.isoformat(" ") + "Z", zoned.isoformat(" "), str(number)
    ) == [
        moment,
        moment,
        moment,
        as_number,
    ]


@pytest.mark.parametrize("name", FORMATS)
def test_a_bad_date_is_in_quarantine_with_the_forms_in_every_format(tmp_path, name):
    dates = ["2018-05-31", "31-05-18", "1527724800", "2024-06-04", "", "432510"]
    records = [
        {
            "review_id": f"r{number}",
            "text": "a",
            "date": date,
        }
        for number, date in enumerate(dates)
    ]
    (tmp_path / name).write_bytes(in_formats(records)[name])
    facts = ingest([tmp_path / name], tmp_path / "out", SourceConfig(), now=NOW)
    rows, bad = (
        pl.concat(iter_parts(tmp_path / "out")),
        pl.read_parquet(tmp_path / "out" / "quarantine.parquet"),
    )
    assert rows["date"].to_list() == [datetime(2018, 5, 31), datetime(2018, 5, 31), None]
    assert facts["reasons"] == {"bad_date": 3}
    assert all(FORMS in detail and "1990-01-01 to 2024-06-03" in detail for detail in bad["detail"])
    assert all(raw for raw in bad["raw"])


def ingested(
    folder,
    name,
    content,
):
    (folder / name).write_bytes(content)
    return data_sets.ingested([folder / name], folder / "out")[1:]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "ids",
    [
        [1000, 7, None],
        [1000.0, 7.0, None],
        ["1000", "7.0", None],
        [" 1000.00 ", "7", ""],
        ["1000", "7", r"\N"],
    ],
    ids=str,
)
def test_a_whole_number_is_one_id_however_it_is_written(
    tmp_path,
    name,
    ids,
):
    if any(one != one for one in ids) and name != "r.parquet":
        pytest.skip("no JSON, and in CSV a word like any other")
    records = [
        {
            "review_id": f"r{number}",
            "user_id": one,
            "business_id": one,
            "text": "a",
        }
        for number, one in enumerate(ids)
    ]
    rows, _ = ingested(tmp_path, name, in_formats(records)[name])
    assert rows["user_id"].to_list() == rows["business_id"].to_list() == ["1000", "7", None]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("rounded", ["1.23457E+17", "1e+22", "1234567890123456.0", 1.5e22])
def test_a_rounded_number_is_no_id_in_any_format(
    tmp_path,
    name,
    rounded,
):
    """A spreadsheet has made many users one: their reviews would all be in one split."""
    records = [
        {
            "review_id": "a",
            "text": "a",
            "user_id": rounded,
        },
        {
            "review_id": "b",
            "text": "b",
            "user_id": None,
        },
    ]
    rows, bad = ingested(tmp_path, name, in_formats(records)[name])
    assert rows["review_id"].to_list() == ["b"]
    assert bad.select("reason").rows() == [("wrong_type",)]
    assert "user_id" in bad["detail"][0]
    assert "review_id" not in bad["detail"][0]


def test_a_folder_below_that_may_not_be_read_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked" / "a.jsonl").touch()
    (tmp_path / "b.jsonl").touch()
    real = os.scandir

    def refuse(path):
        if os.path.basename(path) == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(Unreadable, match="locked"):
        source_names([tmp_path])


@pytest.mark.parametrize(
    ("left_out", "level"),
    [
        (["notes.md", "photo.png"], "INFO"),
        (["yelp_academic_dataset_tip.json"], "WARNING"),
        (["reviews.json.part"], "WARNING"),
        (["README", "notes.md"], "WARNING"),
    ],
)
def test_what_is_left_out_is_a_warning_if_it_could_be_reviews(
    tmp_path,
    caplog,
    left_out,
    level,
):
    for name in ("a.jsonl", *left_out):
        (tmp_path / name).touch()
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            assert [path.name for path in source_names([tmp_path])] == ["a.jsonl"]
    [record] = caplog.records
    assert record.levelname == level
    assert all(name in record.message for name in left_out)
