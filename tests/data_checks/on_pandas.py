"""Great Expectations' own engine for pandas: the peer that verdicts and results must equal."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

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
