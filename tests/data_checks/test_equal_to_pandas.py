"""Verdicts equal those of Great Expectations on pandas."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st

from reviewlm.data_checks.checks import Check, Table, measure
from reviewlm.data_checks.gx import great_expectations, judge, quiet
from tests.data_checks.review_tables import stored
from tests.examples import examples

CHECKS = [
    *(
        Check("present", column, mostly=mostly)
        for column in ("i", "f", "s", "d")
        for mostly in (1, 0.5)
    ),
    Check("absent", "i", mostly=0.3),
    *(Check("unique", column, mostly=0.6) for column in ("i", "f", "s", "d")),
    Check("between", "i", min=0, max=2),
    Check("between", "i", min=0, mostly=0.5),
    Check("between", "f", min=-0.1, max=0.1),
    Check("between", "f", max=1),
    Check("between", "d", min=datetime(2010, 1, 1), max="2020-01-01"),
    Check("one_of", "i", values=(0, 1)),
    Check("one_of", "f", values=(0.1, 1)),
    Check("one_of", "s", values=("a", "é")),
    Check("length", "s", min=1, max=2),
    Check("length", "s", min=2, mostly=0.5),
    Check("matches", "s", pattern="^[a-cé]+$"),
    Check("free_of", "s", pattern="aa|b", mostly=0.9),
    *(Check("different", column, min=0.5) for column in ("i", "f", "s")),
    Check("mean", "i", min=0, max=1),
    Check("sum", "i", min=0, max=5),
    Check("rows", min=3),
]
TEXTS = st.one_of(st.none(), st.sampled_from(["", "a", "b", "é", "aa", "a c", "ab c"]))
DATES = st.sampled_from(
    [datetime(1999, 12, 31), datetime(2010, 1, 1), datetime(2015, 6, 1, 12), datetime(2021, 1, 1)]
)
ROW = st.fixed_dictionaries(
    {
        "i": st.one_of(st.none(), st.integers(-2, 4)),
        "f": st.one_of(st.none(), st.sampled_from([0.0, -0.1, 0.1, 1.0, 2.5, math.nan, math.inf])),
        "s": TEXTS,
        "d": st.one_of(st.none(), DATES),
    }
)
SCHEMA = {
    "i": pl.Int64,
    "f": pl.Float32,
    "s": pl.String,
    "d": pl.Datetime("us"),
}


def assert_equal(table, checks):
    opened = Table.of(stored(table))
    frame = opened.rows(opened.schema).collect().to_pandas()
    expectations = [
        counterpart(check, opened.schema.get(check.column, pl.Null())) for check in checks
    ]
    results = validate_on_pandas(frame, expectations, {"result_format": "BASIC"})
    for check, measured, result in zip(checks, measure(opened, checks, {}), results, strict=True):
        assert not measured.error, (check, measured.error)
        counted = (result.result["unexpected_count"],) if measured.of_rows else ()
        ours = (bool(judge(measured).success), *((measured.failing,) if measured.of_rows else ()))
        assert ours == (bool(result.success), *counted), (check, table.to_dicts()[:12])


@pytest.mark.slow
@examples(
    6,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
    phases=[Phase.generate],
)
@given(rows=st.lists(ROW, min_size=1, max_size=12))
def test_any_small_table_gets_the_same_verdicts(rows):
    table = pl.DataFrame(rows, schema=SCHEMA)
    # Of a column without any value pandas forgets the type.
    assert_equal(
        table, [check for check in CHECKS if not check.column or table[check.column].count()]
    )


@pytest.mark.parametrize(
    "check",
    [
        Check("between", "s", min=1),
        Check("between", "i"),
        Check("length", "i", min=1),
        Check("mean", "s"),
        Check("matches", "s", pattern="("),
        Check("present", "nowhere"),
        Check("between", "d", min="soon"),
    ],
)
def test_what_cannot_be_measured_is_an_error(check):
    table = Table.of(
        stored(
            pl.DataFrame(
                {
                    "i": [1],
                    "s": ["a"],
                    "d": [datetime(2020, 1, 1)],
                }
            )
        )
    )
    sound = Check("present", "i")
    wrong, right = measure(table, [check, sound], {})
    assert wrong.error
    assert (right.error, right.value) == ("", 1.0)


def validate_on_pandas(
    frame: Any,
    expectations: Sequence[Any],
    result_format: Mapping[str, Any],
) -> list[Any]:
    """The results of Great Expectations' own engine for a pandas data frame, in the order of the expectations."""
    gx, name = great_expectations(), uuid.uuid4().hex
    from great_expectations.data_context.types.base import ProgressBarsConfig

    with quiet():
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        suite = context.suites.add(gx.ExpectationSuite(name=name))
        # Copies, because a suite gives every expectation that is added to it a new id.
        added = [
            suite.add_expectation(expectation.copy(update={"id": None}))
            for expectation in expectations
        ]
        asset = context.data_sources.add_pandas(name).add_dataframe_asset(name)
        whole = asset.add_batch_definition_whole_dataframe("whole").get_batch(
            batch_parameters={"dataframe": frame}
        )
        results = whole.validate(suite, result_format=dict(result_format)).results
    # Great Expectations returns the expectations that raised an error first.
    by_id: dict[Any, Any] = {
        getattr(result.expectation_config, "id", None): result for result in results
    }
    return [by_id[expectation.id] for expectation in added]


def counterpart(check: Check, kind: pl.DataType) -> Any:
    """The expectation of Great Expectations that says the same about a column of this type."""
    gx, values = great_expectations().expectations, list(check.values)
    limits = {"min_value": check.min, "max_value": check.max}
    if isinstance(kind, pl.Date | pl.Datetime):
        limits = {
            name: datetime.fromisoformat(one) if isinstance(one, str) else one
            for name, one in limits.items()
        }
    of_rows: dict[str, Any] = {
        "present": (gx.ExpectColumnValuesToNotBeNull, {}),
        "absent": (gx.ExpectColumnValuesToBeNull, {}),
        "between": (gx.ExpectColumnValuesToBeBetween, limits),
        "length": (gx.ExpectColumnValueLengthsToBeBetween, limits),
        "one_of": (gx.ExpectColumnValuesToBeInSet, {"value_set": values}),
        "matches": (gx.ExpectColumnValuesToMatchRegex, {"regex": check.pattern}),
        "free_of": (gx.ExpectColumnValuesToNotMatchRegex, {"regex": check.pattern}),
        "unique": (gx.ExpectColumnValuesToBeUnique, {}),
    }
    of_column: dict[str, Any] = {
        "different": gx.ExpectColumnProportionOfUniqueValuesToBeBetween,
        "mean": gx.ExpectColumnMeanToBeBetween,
        "sum": gx.ExpectColumnSumToBeBetween,
    }
    with quiet():
        if check.kind == "rows":
            return gx.ExpectTableRowCountToBeBetween(**limits)
        if check.kind in of_column:
            return of_column[check.kind](column=check.column, **limits)
        made, options = of_rows[check.kind]
        return made(
            column=check.column,
            mostly=check.mostly,
            **options,
        )
