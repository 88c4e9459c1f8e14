"""Great Expectations' own engine for pandas: the peer that verdicts and results must equal."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl

from data_checks.checks import Check
from data_checks.gx import great_expectations, quiet


def validate_on_pandas(frame: Any, expectations: Sequence[Any], result_format: Mapping[str, Any]) -> list[Any]:
    """The results of Great Expectations' own engine for a pandas data frame, in the order of the expectations."""
    gx, name = great_expectations(), uuid.uuid4().hex
    from great_expectations.data_context.types.base import ProgressBarsConfig

    with quiet():
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        suite = context.suites.add(gx.ExpectationSuite(name=name))
        # Copies, because a suite gives every expectation that is added to it a new id.
        added = [suite.add_expectation(expectation.copy(update={"id": None})) for expectation in expectations]
        asset = context.data_sources.add_pandas(name).add_dataframe_asset(name)
        whole = asset.add_batch_definition_whole_dataframe("whole").get_batch(batch_parameters={"dataframe": frame})
        results = whole.validate(suite, result_format=dict(result_format)).results
    # Great Expectations returns the expectations that raised an error first.
    by_id: dict[Any, Any] = {getattr(result.expectation_config, "id", None): result for result in results}
    return [by_id[expectation.id] for expectation in added]


def counterpart(check: Check, kind: pl.DataType) -> Any:
    """The expectation of Great Expectations that says the same about a column of this type."""
    gx, values = great_expectations().expectations, list(check.values)
    limits = {"min_value": check.min, "max_value": check.max}
    if isinstance(kind, pl.Date | pl.Datetime):
        limits = {name: datetime.fromisoformat(one) if isinstance(one, str) else one for name, one in limits.items()}
    of_rows: dict[str, Any] = {
        "present": (gx.ExpectColumnValuesToNotBeNull, {}), "absent": (gx.ExpectColumnValuesToBeNull, {}),
        "between": (gx.ExpectColumnValuesToBeBetween, limits),
        "length": (gx.ExpectColumnValueLengthsToBeBetween, limits),
        "one_of": (gx.ExpectColumnValuesToBeInSet, {"value_set": values}),
        "matches": (gx.ExpectColumnValuesToMatchRegex, {"regex": check.pattern}),
        "free_of": (gx.ExpectColumnValuesToNotMatchRegex, {"regex": check.pattern}),
        "unique": (gx.ExpectColumnValuesToBeUnique, {}),
    }
    of_column: dict[str, Any] = {
        "different": gx.ExpectColumnProportionOfUniqueValuesToBeBetween, "mean": gx.ExpectColumnMeanToBeBetween,
        "sum": gx.ExpectColumnSumToBeBetween,
    }
    with quiet():
        if check.kind == "rows":
            return gx.ExpectTableRowCountToBeBetween(**limits)
        if check.kind in of_column:
            return of_column[check.kind](column=check.column, **limits)
        made, options = of_rows[check.kind]
        return made(column=check.column, mostly=check.mostly, **options)
