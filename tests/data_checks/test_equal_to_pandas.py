"""Verdict and result of every expectation that can be evaluated equal those of Great Expectations on pandas."""

import math
import re
from datetime import datetime
from functools import cache

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st

from core.config.sections.data import ChecksConfig
from core.errors import ReviewLMError
from data_checks.engine import SUMMARY, Batch, validate
from data_checks.expectations import COLUMNS, ROWS, Case
from data_checks.gx import exception_in, expect, quiet
from data_checks.metrics.conditions import contains
from data_checks.metrics.tables import Table
from data_checks.metrics.texts import MEASURES
from tests.data_checks.on_pandas import validate_on_pandas
from tests.data_checks.review_tables import planted, varied_reviews
from tests.examples import examples
from tests.marked_cases import slow_but

QUANTILES = {"quantiles": [0.1, 0.5, 0.9], "value_ranges": [[-2, 1], [0, 2], [None, 3]]}


@cache
def every_expectation():
    """Expectations of all classes that can be evaluated, made at first use: collecting tests imports no library."""
    gx = expect()
    return [
        *(gx.ExpectColumnValuesToNotBeNull(column=column, mostly=mostly)
          for column in ("i", "f", "s", "d") for mostly in (1, 0.5)),
        gx.ExpectColumnValuesToBeNull(column="i", mostly=0.3),
        *(gx.ExpectColumnValuesToBeUnique(column=column, mostly=0.6) for column in ("i", "f", "s", "d")),
        gx.ExpectColumnValuesToBeBetween(column="i", min_value=0, max_value=2),
        gx.ExpectColumnValuesToBeBetween(column="i", min_value=0, strict_min=True, mostly=0.5),
        gx.ExpectColumnValuesToBeBetween(column="f", min_value=-0.1, max_value=0.1),
        gx.ExpectColumnValuesToBeBetween(column="f", max_value=1, strict_max=True),
        gx.ExpectColumnValuesToBeBetween(column="d", min_value=datetime(2010, 1, 1), max_value=datetime(2020, 1, 1)),
        gx.ExpectColumnValuesToBeInSet(column="i", value_set=[0, 1]),
        gx.ExpectColumnValuesToBeInSet(column="f", value_set=[0.1, 1]),
        gx.ExpectColumnValuesToBeInSet(column="s", value_set=["a", "é", 1]),
        gx.ExpectColumnValuesToNotBeInSet(column="s", value_set=["a"], mostly=0.5),
        gx.ExpectColumnValueLengthsToBeBetween(column="s", min_value=1, max_value=2),
        gx.ExpectColumnValueLengthsToEqual(column="s", value=1),
        gx.ExpectColumnValuesToMatchRegex(column="s", regex=r"^[a-cé]+$"),
        gx.ExpectColumnValuesToMatchRegex(column="s", regex=r"\Aa"),
        gx.ExpectColumnValuesToNotMatchRegex(column="s", regex=r"(.)\1", mostly=0.9),
        gx.ExpectColumnValuesToNotMatchRegex(column="s", regex=r"\s"),
        gx.ExpectColumnMinToBeBetween(column="i", min_value=0), gx.ExpectColumnMaxToBeBetween(column="f", max_value=1),
        gx.ExpectColumnMinToBeBetween(column="d", min_value=datetime(2010, 1, 1)),
        gx.ExpectColumnSumToBeBetween(column="i", min_value=0, max_value=5),
        gx.ExpectColumnMeanToBeBetween(column="i", min_value=0, max_value=1),
        gx.ExpectColumnMedianToBeBetween(column="i", min_value=0, max_value=1),
        gx.ExpectColumnStdevToBeBetween(column="i", min_value=0, max_value=1),
        gx.ExpectColumnQuantileValuesToBeBetween(column="i", quantile_ranges=QUANTILES),
        *(gx.ExpectColumnProportionOfUniqueValuesToBeBetween(column=column, min_value=0.5)
          for column in ("i", "f", "s")),
        gx.ExpectColumnUniqueValueCountToBeBetween(column="s", min_value=2, max_value=3),
        gx.ExpectColumnProportionOfNonNullValuesToBeBetween(column="f", min_value=0.7),
        gx.ExpectColumnDistinctValuesToBeInSet(column="s", value_set=["a", "b"]),
        gx.ExpectColumnDistinctValuesToContainSet(column="s", value_set=["a", "b"]),
        gx.ExpectColumnDistinctValuesToEqualSet(column="i", value_set=[0, 1]),
        gx.ExpectColumnPairValuesToBeInSet(column_A="s", column_B="t", value_pairs_set=[("a", "a"), ("b", "é")]),
        gx.ExpectColumnPairValuesToBeEqual(column_A="s", column_B="t", mostly=0.5),
        gx.ExpectTableRowCountToBeBetween(min_value=3), gx.ExpectTableRowCountToEqual(value=4),
        gx.ExpectColumnToExist(column="s"), gx.ExpectTableColumnCountToEqual(value=5),
        gx.ExpectTableColumnsToMatchSet(column_set=["i", "f", "s", "t", "d"]),
        gx.ExpectColumnMaxToBeBetween(column="absent", max_value=1),
    ]


TEXTS = st.one_of(st.none(), st.sampled_from(["", "a", "b", "é", "aa", "a\n", "a\x1cb", "ab c"]))
DATES = st.sampled_from([datetime(1999, 12, 31), datetime(2010, 1, 1), datetime(2015, 6, 1, 12), datetime(2021, 1, 1)])
ROW = st.fixed_dictionaries({
    "i": st.one_of(st.none(), st.integers(-2, 4)),
    "f": st.one_of(st.none(), st.sampled_from([0.0, -0.1, 0.1, 1.0, 2.5, math.nan, math.inf])),
    "s": TEXTS, "t": TEXTS, "d": st.one_of(st.none(), DATES),
})
SCHEMA = {"i": pl.Int64, "f": pl.Float32, "s": pl.String, "t": pl.String, "d": pl.Datetime("us")}


def compared(result):
    """The verdict and what the report is made of."""
    if exception_in(result.exception_info):
        return "broken"
    shown = {key: plain(value) for key, value in result.result.items() if key != "unexpected_index_query"}
    for key in ("partial_unexpected_list", "partial_missing_list"):
        # Of sets of distinct values no order is defined.
        if key in shown and "element_count" not in shown:
            shown[key] = sorted(shown[key], key=str)
    # pandas counts every NaN by itself.
    counts = [each for each in shown.pop("partial_unexpected_counts", []) if each.get("value") is not None]
    return bool(result.success), shown, sorted(map(str, counts))


def plain(value):
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if value is None or value == "NaT" or value != value:
        return None
    if isinstance(value, str | bool | datetime):
        return value.isoformat() if isinstance(value, datetime) else value
    return float(f"{value:.9g}")


def both(table, expectations, rows, measures=None):
    ours = validate(Batch("t", Table.of(table, measures), expectations), rows).results
    frame = Table.of(table, measures).collect().to_pandas()
    theirs = validate_on_pandas(frame, expectations, SUMMARY)
    return [(compared(one), compared(other)) for one, other in zip(ours, theirs, strict=True)]


def assert_equal(table, expectations, rows, measures=None):
    for expectation, (ours, theirs) in zip(expectations, both(table, expectations, rows, measures), strict=True):
        assert ours == theirs, (type(expectation).__name__, expectation.configuration.kwargs, table.to_dicts()[:12])


@pytest.mark.long
@examples(6, suppress_health_check=[HealthCheck.too_slow], derandomize=True, phases=[Phase.generate])
@given(rows=st.lists(ROW, min_size=1, max_size=12), chunk=st.integers(1, 5))
def test_any_small_table_gets_the_same_results(rows, chunk):
    table = pl.DataFrame(rows, schema=SCHEMA)
    # Of a column without any value pandas forgets the type.
    kept = [
        each for each in every_expectation()
        if getattr(each, "column", "s") not in ("i", "f", "s", "d") or table[getattr(each, "column", "s")].count()
    ]
    assert_equal(table, kept, chunk)


CORRUPTED = {
    "raw": [planted("review_id", None), planted("stars", 7.0, 9).cast(pl.Float32), planted("stars", None, 9),
            planted("text", "", 9), planted("text", "TrÃ¨s\x07 bon", 9), planted("date", datetime(1999, 1, 1), 9)],
    "clean": [planted("stars", 6).cast(pl.Int8), planted("text", "\u200b"), planted("split", "holdout"),
              planted("bytes", 1).cast(pl.UInt32), planted("text", "no " * 50, 3)],
    "tokens": [planted("tokens", 0), planted("oov", -1), planted("review_id", "9" * 22, 2)],
    "predictions": [planted("nats", math.nan), planted("nats", math.inf), planted("tokens", 0)],
    "samples": [planted("text", "so " * 2_000), planted("text", "a <eos>"), planted("text", None)],
}


@pytest.mark.parametrize("stage", slow_but(ROWS, {"tokens", "samples"}))
def test_the_suites_judge_good_and_corrupted_tables_as_on_pandas(stage):
    table = varied_reviews(200).with_columns(
        bytes=pl.col("text").str.len_bytes() + 1, tokens=pl.lit(8), oov=pl.lit(0), nats=pl.lit(40.0),
        split=pl.Series(["train", "validation", "test", "train"] * 50), **{"stars": pl.col("stars").cast(pl.Float32)})
    if stage in ("clean", "samples"):
        table = table.with_columns(pl.col("stars").cast(pl.Int8))
    case = Case(stage, Table.of(table, MEASURES), frozenset(COLUMNS[stage]), ChecksConfig(), {"tokens": 1600})
    expectations = ROWS[stage](case)
    assert_equal(table, expectations, 64, MEASURES)
    assert_equal(table.with_columns(), expectations, 64, MEASURES)
    # All at once: columns that two corruptions touch keep the later one.
    for defects in (CORRUPTED[stage][::2], CORRUPTED[stage][1::2]):
        broken = table
        for defect in defects:
            broken = broken.with_columns(defect)
        assert_equal(broken, expectations, 64, MEASURES)


@examples(100, derandomize=True)
@given(text=st.text(alphabet="ab\n \x1cé1_-", max_size=8))
@pytest.mark.parametrize(
    "pattern", [r"^a|b$", r"[^ab]{2,3}", r"(a|b1)+?\Z", r"a.b", r"(.)\1", r"\w\s", r"(?i)A", r"a(?=b)", r"\d{2}", "",
                "é?1$", r"[\x1c-\x1eb]", "[é1]", r"[^a]"]
)
def test_a_pattern_finds_what_python_finds(pattern, text):
    found = pl.DataFrame({"t": [text, None]}).select(contains(pl.col("t"), pattern))["t"].to_list()
    assert found == [re.search(pattern, text) is not None, None]


@pytest.mark.parametrize(
    "declared",
    [
        lambda: expect().ExpectColumnValuesToBeIncreasing(column="i"),
        lambda: expect().ExpectColumnMaxToBeBetween(
            column="i", max_value=3, row_condition='col("i") > 1', condition_parser="great_expectations"),
        lambda: expect().ExpectColumnMaxToBeBetween(column="i", max_value={"$PARAMETER": "limit"}),
    ],
)
def test_what_cannot_be_evaluated_is_refused_and_never_passed(declared):
    with quiet():
        expectation = declared()
    with pytest.raises(ReviewLMError, match="cannot be evaluated"):
        validate(Batch("t", Table.of(pl.DataFrame({"i": [1]})), [expectation]))
