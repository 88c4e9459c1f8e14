"""Dates: the documented forms are read, everything else is in quarantine with these forms beside it."""

from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config.sections.data import SourceConfig
from corpus.ingestion.ingest import ingest, iter_parts
from corpus.reading.convert import FORMS, read_dates
from tests.corpus.review_files import in_formats
from tests.examples import examples

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
MAY = datetime(2024, 5, 31, 18, 30)
FORMATS = list(in_formats([{"text": "a"}]))


def read(*written):
    return read_dates(pl.Series("date", written, dtype=pl.String), NOW).to_list()


@pytest.mark.parametrize(("written", "moment"), [
    ("2024-05-31", datetime(2024, 5, 31)), ("31-05-2024", datetime(2024, 5, 31)), ("2024-05-31 18:30", MAY),
    ("2024-05-31T18:30:00", MAY), ("2024-05-31 18:30:00.250", MAY.replace(microsecond=250_000)),
    ("2024-05-31T18:30:00Z", MAY), ("2024-05-31 18:30:00 UTC", MAY), ("2024-05-31T20:30:00+02:00", MAY),
    ("2024-05-31 20:30:00+02", MAY), ("2024-05-31 13:30:00.5-0500", MAY.replace(microsecond=500_000)),
    ("31-05-2024 18:30", MAY),
    ("31-05-2024 18:30:00", MAY), ("1717180200", MAY), ("1717180200.0", MAY), ("1717180200000", MAY),
    ("1.7171802e+12", MAY), ("1717180200000000", MAY), ("1717180200000000000", MAY),
    ("1717180200.5", MAY.replace(microsecond=500_000)),
])  # fmt: skip
def test_documented_forms_are_read_as_utc(written, moment):
    assert read(written, None, "2020-02-02 02:02:02") == [moment, None, datetime(2020, 2, 2, 2, 2, 2)]


@given(
    st.datetimes(datetime(1990, 1, 2), datetime(2024, 5, 30)), st.integers(-14 * 60, 14 * 60),
    st.sampled_from(["s", "ms", "us", "ns"]),
)
@examples(100)
def test_a_moment_is_the_same_in_each_way_of_writing_it(moment, minutes, unit):
    """Python's calendar says which moment each is."""
    zoned = moment.replace(tzinfo=UTC).astimezone(timezone(timedelta(minutes=minutes)))
    micro = (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)
    number = {"s": micro // 10**6, "ms": micro // 1000, "us": micro, "ns": micro * 1000}[unit]
    cut = {"s": 10**6, "ms": 1000, "us": 1, "ns": 1}[unit]
    as_number = moment - timedelta(microseconds=micro % cut)
    assert read(moment.isoformat(), moment.isoformat(" ") + "Z", zoned.isoformat(" "), str(number)) == [
        moment, moment, moment, as_number,
    ]


@pytest.mark.parametrize("name", FORMATS)
def test_a_bad_date_is_in_quarantine_with_the_forms_in_every_format(tmp_path, name):
    dates = ["2018-05-31", "31-05-18", "1527724800", "2024-06-04", "", "43251"]
    records = [{"review_id": f"r{number}", "text": "a", "date": date} for number, date in enumerate(dates)]
    (tmp_path / name).write_bytes(in_formats(records)[name])
    facts = ingest([tmp_path / name], tmp_path / "out", SourceConfig(), now=NOW)
    rows, bad = pl.concat(iter_parts(tmp_path / "out")), pl.read_parquet(tmp_path / "out" / "quarantine.parquet")
    assert rows["date"].to_list() == [datetime(2018, 5, 31), datetime(2018, 5, 31), None]
    assert facts["reasons"] == {"bad_date": 3}
    assert all(FORMS in detail and "1990-01-01 to 2024-06-03" in detail for detail in bad["detail"])
    assert all(raw for raw in bad["raw"])
