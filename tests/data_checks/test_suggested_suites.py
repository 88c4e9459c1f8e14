"""A suggested suite passes its source, fails on planted defects, and comes back from its file."""

import json
import shlex
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from math import inf, nan
from pathlib import Path

import polars as pl
import pytest

from reviewlm.core.errors import ConfigError, Unreadable
from reviewlm.data_checks.suggest import suggest
from reviewlm.data_checks.suite_runs import check_with, load_suite, save_suite
from tests.data_checks.review_tables import planted, stored, varied_reviews
from tests.marked_cases import long_but

CORRUPTIONS = {
    "an id is missing": (planted("review_id", None), "review_id is never missing"),
    "an id stands twice": (
        planted("review_id", varied_reviews()["review_id"][9]),
        "review_id is different",
    ),
    "an id is cut short": (pl.col("review_id").str.head(10), "review_id is 22"),
    "six stars": (planted("stars", 6.0).cast(pl.Float32), "stars is one of 5 values"),
    "all reviews have five stars": (pl.lit(5.0, pl.Float32).alias("stars"), "The mean of stars"),
    "a rating is missing": (planted("stars", None), "stars is never missing"),
    "a column is missing": ("useful", "each of its type"),
    "a column has another type": (pl.col("useful").cast(pl.String), "each of its type"),
    "a vote is negative": (planted("useful", -3), "useful is from 0"),
    "a text is missing": (planted("text", None), "text is never missing"),
    "a text is empty": (planted("text", ""), "characters"),
    "a text is far too long": (planted("text", "so good " * 400), "characters"),
    "texts are cut to one word": (pl.col("text").str.head(6), "have at least"),
    "texts were joined": (pl.concat_str("text", "text", "text"), "have at most"),
    "half of the texts are the same": (
        planted("text", "the same text", rows=200),
        "text is different",
    ),
    "a control character": (
        planted("text", "good\x07 food was great and more"),
        "control or invisible",
    ),
    "mojibake": (planted("text", "TrÃ¨s bon, the food was great"), "wrong encoding"),
    "a word again and again": (planted("text", "good " * 30), "word_run is"),
    "a date of 1970": (planted("date", datetime(1970, 1, 1)), "date is from"),
    "a date to come": (planted("date", datetime(2051, 1, 1)), "date is from"),
}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    file = tmp_path_factory.mktemp("suite") / "suggested.json"
    save_suite(suggest(stored(varied_reviews()), "reviews"), file)
    return file


def failed(
    file,
    table,
    folder,
):
    report = check_with(file, table if isinstance(table, Path) else stored(table), folder / "docs")
    assert report.broken == ()
    return [each.sentence for each in report.results if not each.passed]


@pytest.mark.slow
def test_the_source_passes(file, tmp_path):
    assert failed(file, varied_reviews(), tmp_path) == []


@pytest.mark.slow
def test_the_source_in_parts_passes(file, tmp_path):
    (tmp_path / "parts").mkdir()
    for number, start in enumerate(range(0, 400, 150)):
        part = varied_reviews().slice(start, 150)
        part.write_parquet(tmp_path / "parts" / f"part-{number}.parquet")
    assert failed(file, tmp_path / "parts", tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", long_but(CORRUPTIONS, list(CORRUPTIONS)[::3]))
def test_a_planted_corruption_fails(
    name,
    file,
    tmp_path,
):
    defect, words = CORRUPTIONS[name]
    table = varied_reviews()
    table = table.drop(defect) if isinstance(defect, str) else table.with_columns(defect)
    sentences = failed(file, table, tmp_path)
    assert any(words in sentence for sentence in sentences), sentences


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not a suite"),
        ("[]", "not a suite"),
        ('{"format": 9, "name": "x", "checks": []}', "format 9"),
        ('{"format": 2, "name": "x", "checks": [{"kind": "magic"}]}', "check 1"),
        ('{"format": 2, "name": "x", "checks": [{"kind": "present", "a": 1}]}', "check 1"),
        (
            '{"format": 2, "name": "x", "checks": [{"kind": "present", "severity": "dire"}]}',
            "check 1",
        ),
    ],
)
def test_a_file_that_is_no_suite_is_an_error_that_says_so(
    content,
    words,
    tmp_path,
):
    (tmp_path / "suite.json").write_text(content)
    with pytest.raises(ConfigError, match=words):
        load_suite(tmp_path / "suite.json")


def moments(unit="us", zone=None):
    series = pl.Series("x", [datetime(2020, 1, 1) + timedelta(hours=31 * n) for n in range(60)])
    return series.cast(pl.Datetime(unit)).dt.replace_time_zone(zone)


ODD = {
    "decimals": pl.Series("x", [Decimal(n) / 4 for n in range(60)]),
    "few decimals": pl.Series("x", [Decimal("1.10"), Decimal("-2.25")] * 30),
    "wide decimals": pl.Series("x", [Decimal(10) ** 30 + n for n in range(60)], pl.Decimal(38, 0)),
    "times of day": pl.Series("x", [time(n % 24, n) for n in range(60)]),
    "durations": pl.Series("x", [timedelta(days=40_000 * n) for n in range(60)]),
    "infinity": pl.Series("x", [*map(float, range(59)), inf]),
    "minus infinity": pl.Series("x", [-inf, 1.0] * 30),
    "both infinities": pl.Series("x", [inf, -inf, 1.5] * 20),
    "nothing else": pl.Series("x", [inf] * 60),
    "not a number": pl.Series("x", [nan, 1.0, 2.0] * 20),
    "numbers far apart": pl.Series("x", [1e308, -1e308] * 30),
    "moments in Berlin": moments(zone="Europe/Berlin"),
    "moments in UTC": moments(zone="UTC"),
    "nanoseconds": moments("ns"),
    "milliseconds in Lima": moments("ms", "America/Lima"),
    "the first and the last day": pl.Series("x", [date.min, date.max] * 30),
    "the first and the last moment": pl.Series("x", [datetime.min, datetime.max] * 30),
    "the largest integers": pl.Series("x", [2**64 - 1 - n for n in range(60)], pl.UInt64),
    "bytes": pl.Series("x", [b"a", b"\xff"] * 30),
    "lists": pl.Series("x", [[1], []] * 30),
    "an enumeration": pl.Series("x", ["a", "b"] * 30, pl.Enum(["a", "b", "c"])),
    "nulls": pl.Series("x", [None] * 60),
}


def refuse(constant):
    raise AssertionError(f"no JSON: {constant}")


@pytest.mark.parametrize("name", ODD)
def test_a_column_of_any_type_gets_a_suite_in_json_that_it_meets(name, tmp_path):
    table = pl.DataFrame([ODD[name]])
    save_suite(suggest(stored(table), "odd"), tmp_path / "s.json")
    assert failed(tmp_path / "s.json", table, tmp_path) == []
    for file in (tmp_path / "s.json", tmp_path / "docs" / "validation.json"):
        json.loads(file.read_text(), parse_constant=refuse)


NAMES = ("*", "^a.*$", "^(", "", " ", "count", "a.b", "text.en", "0 value", "$", "columns")


def test_a_column_of_any_name_gets_a_suite_that_it_meets(tmp_path):
    values = {name: [f"{name}{row}" for row in range(30)] for name in NAMES}
    table = pl.DataFrame({**values, "text": [f"good food {row}" for row in range(30)]})
    suite = suggest(stored(table), "odd")
    save_suite(suite, tmp_path / "s.json")
    assert failed(tmp_path / "s.json", table, tmp_path) == []
    assert set(NAMES) <= {one.column for one in suite.checks if one.kind == "unique"}


@pytest.mark.parametrize("name", NAMES)
def test_a_defect_is_found_in_a_column_of_any_name(name, tmp_path):
    table = pl.DataFrame({"other": list(range(30)), name: [f"id{row}" for row in range(30)]})
    save_suite(suggest(stored(table), "odd"), tmp_path / "s.json")
    spoilt = table.with_columns(pl.Series(name, [None, *(f"id{row}" for row in range(1, 30))]))
    assert any("never missing" in one for one in failed(tmp_path / "s.json", spoilt, tmp_path))


TYPES = [pl.String(), pl.Int64(), pl.Float64(), pl.Boolean(), pl.Date(), pl.Datetime("us")]
TYPES += [pl.Null(), pl.List(pl.Int64()), pl.Decimal(9, 2), pl.Categorical()]


@pytest.mark.parametrize("columns", [{}, {"text": pl.String()}, dict(enumerate(TYPES))], ids=len)
def test_a_table_without_rows_gets_a_suite_that_it_meets(columns, tmp_path):
    table = pl.DataFrame(schema={str(name): kind for name, kind in columns.items()})
    save_suite(suggest(stored(table), "empty"), tmp_path / "s.json")
    assert failed(tmp_path / "s.json", table, tmp_path) == []


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl"])
def test_a_table_in_another_format_is_refused_with_the_command_that_converts_it(tmp_path, name):
    table = pl.DataFrame({"text": ["Good.", "Bad."], "stars": [5, 1]})
    if name == "t.jsonl":
        table.write_ndjson(tmp_path / name)
    else:
        table.write_csv(tmp_path / name, separator="\t" if name == "t.tsv" else ",")

    with pytest.raises(Unreadable) as caught:
        suggest(tmp_path / name, "own")
    code = shlex.split(caught.value.remedy.partition(": ")[2])[2]
    exec(code.replace("'table.parquet'", repr(str(tmp_path / "table.parquet"))))
    assert pl.read_parquet(tmp_path / "table.parquet").equals(table)
