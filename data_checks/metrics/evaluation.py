"""Evaluate expectations of Great Expectations on a table, chunk by chunk, without pandas.

Polars measures the metrics that the expectations name (`data_checks/metrics/translation.py`). From their values Great
Expectations' own classes make the verdicts and the result objects, so these are the same as on pandas.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from core.errors import ReviewLMError
from data_checks.metrics.metrics import Metric
from data_checks.metrics.tables import CHUNK_ROWS, Table
from data_checks.metrics.translation import AGGREGATES, ROWS, UNEXPECTED, Asked

Report = Callable[[int, int], None]
MAX_DISTINCT_VALUES = 20
EVERY = 1 << 62
RATIOS: dict[str, tuple[str, str]] = {
    "column.unique_proportion": ("column.distinct_values.count", "column.non_null_count"),
    "column.non_null_proportion": ("column.non_null_count", "table.row_count"),
}
"""Metrics that are quotients of two others (0 where the divisor is 0)."""
SETS = ("column.distinct_values.not_in_set", "column.distinct_values.missing_from_column")
TABLE: dict[str, Callable[[Table], Any]] = {
    "table.row_count": lambda table: table.height,
    "table.columns": lambda table: list(table.schema),
    "table.column_count": lambda table: len(table.schema),
}


class Broken:
    """A metric that could not be measured, with its error; it says nothing about the data."""

    def __init__(self, error: Exception) -> None:
        self.message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        self.traceback = "".join(traceback.format_exception(error))


@dataclass(frozen=True)
class _Need:
    """A value that Great Expectations asks for: the keys of the metrics it is computed from, and the function."""

    sources: tuple[Hashable, ...]
    make: Callable[..., Any]


def require_supported(expectations: Sequence[Any]) -> None:
    """Raise an error for expectations that cannot be evaluated on polars.

    Raises:
        ReviewLMError: A class depends on a metric without a counterpart on polars, or an expectation has a row
            condition or suite parameters without values.
    """
    for expectation in expectations:
        _supported(expectation, _dependencies(expectation, {}))


def _supported(expectation: Any, wanted: Mapping[str, Any]) -> None:
    name, reason = type(expectation).__name__, ""
    if getattr(expectation, "row_condition", None):
        reason = "it has a row_condition"
    elif expectation.suite_parameter_options:
        reason = f"its parameters {list(expectation.suite_parameter_options)} have no values"
    elif unknown := [metric for metric in wanted if not _known(metric)]:
        reason = f"it depends on {', '.join(unknown)}"
    if reason:
        raise ReviewLMError(
            f"The expectation {name} cannot be evaluated", where=str(expectation.description or ""), cause=reason,
            remedy="declare it with another class (data_checks/metrics/translation.py has those that can be), "
                   "or add its metric there",
        )


def evaluate(
    table: Table,
    expectations: Sequence[Any],
    result_format: Mapping[str, Any],
    rows: int = CHUNK_ROWS,
    tallies: Mapping[str, Metric] | None = None,
    report: Report | None = None,
) -> tuple[list[Any], dict[str, Any]]:
    """Evaluate expectations on a table.

    Args:
        table: Table; it is read once, and again if values may be repeated.
        expectations: Instances of Great Expectations' classes.
        result_format: Result format as Great Expectations defines it.
        rows: Most rows of a chunk; the verdicts do not depend on it.
        tallies: Further metrics that are measured in the same pass.
        report: Called in the first pass with the number of rows done and the total.

    Returns:
        Great Expectations' results in the order of the expectations, and the values of the tallies. A tally that raised
        an exception has a `Broken` as its value.

    Raises:
        ReviewLMError: An expectation cannot be evaluated on polars.
        Unreadable: The table cannot be read.
    """
    metrics: dict[Hashable, Metric | Broken] = dict((tallies or {}).items())
    wanted = [_dependencies(expectation, result_format) for expectation in expectations]
    for expectation, each in zip(expectations, wanted, strict=True):
        _supported(expectation, each)
    plans = [_planned(each, table, result_format, metrics) for each in wanted]
    values = measure(table, metrics, rows, report)
    results = [
        _judged(expectation, each, needs, values, result_format)
        for expectation, each, needs in zip(expectations, wanted, plans, strict=True)
    ]
    return results, {name: values[name] for name in tallies or {}}


def measure(
    table: Table, metrics: Mapping[Hashable, Metric | Broken], rows: int, report: Report | None = None
) -> dict[Hashable, Any]:
    """Return the values of metrics, in as many passes as they need; `Broken` for a metric that raised an exception."""
    values: dict[Hashable, Any] = {}
    pending = dict(metrics)
    while pending:
        values.update({key: each for key, each in pending.items() if isinstance(each, Broken)})
        running = {key: each for key, each in pending.items() if isinstance(each, Metric)}
        states = _pass(table, running, rows, report) if running else {}
        pending, report = {}, None
        for key, metric in running.items():
            state = states.pop(key)
            outcome = state if isinstance(state, Broken) else _guarded(_next_or_value, metric, state)
            if isinstance(outcome, Metric):
                pending[key] = outcome
            else:
                values[key] = outcome
    return values


def _pass(table: Table, metrics: Mapping[Hashable, Metric], rows: int, report: Report | None) -> dict[Hashable, Any]:
    """Read the table once and return the state of each metric."""
    columns = list(dict.fromkeys(column for metric in metrics.values() for column in metric.columns))
    states: dict[Hashable, Any] = {}
    done = 0
    for chunk in table.chunks(columns, rows):
        sound = {key: metric for key, metric in metrics.items() if not isinstance(states.get(key), Broken)}
        for key, state in _measured(chunk, sound, done).items():
            joined = key in states and not isinstance(state, Broken)
            states[key] = _guarded(metrics[key].merge, states[key], state) if joined else state
        done += chunk.height
        if report:
            report(done, table.height)
    return states


def _measured(chunk: pl.DataFrame, metrics: Mapping[Hashable, Metric], first_row: int) -> dict[Hashable, Any]:
    """Return the metrics' states for a chunk: in one query, or one by one if that fails, to find the broken metric."""
    expressions = {key: metric.expressions() for key, metric in metrics.items()}
    names = {key: [f"{place}.{i}" for i in range(len(expressions[key]))] for place, key in enumerate(metrics)}
    flat = [
        expression.alias(name)
        for key in metrics for expression, name in zip(expressions[key], names[key], strict=True)
    ]
    marks = {name: mark for metric in metrics.values() for name, mark in metric.marks().items()}
    try:
        measured = chunk.lazy().with_columns(**marks).select(flat).collect()
    except Exception as error:
        if len(metrics) == 1:
            return {key: Broken(error) for key in metrics}
        alone = [_measured(chunk, {key: metric}, first_row) for key, metric in metrics.items()]
        return {key: state for each in alone for key, state in each.items()}
    return {
        key: _guarded(metric.state, [measured.get_column(name)[0] for name in names[key]], first_row)
        for key, metric in metrics.items()
    }


def _next_or_value(metric: Metric, state: Any) -> Any:
    return metric.follow_up(state) or metric.value(state)


def _guarded(step: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return step(*arguments)
    except Exception as error:
        return Broken(error)


def _dependencies(expectation: Any, result_format: Mapping[str, Any]) -> dict[str, Any]:
    configuration = {"result_format": dict(result_format) or {"result_format": "SUMMARY"}}
    found = expectation.get_validation_dependencies(execution_engine=None, runtime_configuration=configuration)
    return dict(found.metric_configurations)


def _known(name: str) -> bool:
    base, _, suffix = name.rpartition(".")
    return (
        name in TABLE or name in AGGREGATES or name in RATIOS or name.removesuffix(".count") in SETS
        or (base in ROWS and suffix in UNEXPECTED)
    )


def _planned(
    wanted: Mapping[str, Any], table: Table, result_format: Mapping[str, Any],
    metrics: dict[Hashable, Metric | Broken],
) -> dict[str, _Need]:
    """Return how to compute each value that an expectation asks for, and add the needed metrics to *metrics*."""
    needs = {}
    for name, configuration in wanted.items():
        options = configuration.metric_value_kwargs or {}
        options = {key: each for key, each in options.items() if key != "result_format"}
        asked = Asked(table, configuration.metric_domain_kwargs, options, _kept(result_format))
        needs[name] = _need(name, asked, metrics)
    return needs


def _kept(result_format: Mapping[str, Any]) -> int:
    """Return the number of unexpected values that the format shows; only "COMPLETE" shows all of them."""
    if result_format.get("result_format") == "COMPLETE":
        return EVERY
    return int(result_format.get("partial_unexpected_count", MAX_DISTINCT_VALUES))


def _need(name: str, asked: Asked, metrics: dict[Hashable, Metric | Broken]) -> _Need:
    if name in TABLE:
        value = TABLE[name](asked.table)
        return _Need((), lambda: value)
    if name in RATIOS:
        parts = [_need(part, asked, metrics) for part in RATIOS[name]]
        split = len(parts[0].sources)
        return _Need(
            parts[0].sources + parts[1].sources,
            lambda *values: _ratio(parts[0].make(*values[:split]), parts[1].make(*values[split:])))
    if name.removesuffix(".count") in SETS:
        key = _added("column.distinct_values", AGGREGATES, asked, metrics, options={})
        return _Need((key,), lambda found: _difference(name, found, asked.options["value_set"]))
    if name in AGGREGATES:
        return _Need((_added(name, AGGREGATES, asked, metrics),), lambda value: value)
    base, _, suffix = name.rpartition(".")
    return _Need((_added(base, ROWS, asked, metrics),), UNEXPECTED[suffix])


def _added(
    name: str, makers: Mapping[str, Callable[[Asked], Metric]], asked: Asked,
    metrics: dict[Hashable, Metric | Broken], options: Mapping[str, Any] | None = None,
) -> Hashable:
    """Add a metric unless an equal one is present, and return its key."""
    options = asked.options if options is None else options
    key = (name, repr(sorted(asked.domain.items(), key=str)), repr(sorted(options.items(), key=str)))
    if key not in metrics:
        metrics[key] = _guarded(makers[name], replace(asked, options=options))
    return key


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0


def _difference(name: str, found: frozenset[Any], members: Sequence[Any] | None) -> Any:
    expected = frozenset(members or ())
    left = found - expected if name.startswith(SETS[0]) else expected - found
    if name.endswith(".count"):
        return len(left)
    return sorted(left, key=lambda value: (str(type(value)), value))[:MAX_DISTINCT_VALUES]


def _judged(
    expectation: Any, wanted: Mapping[str, Any], needs: Mapping[str, _Need], values: Mapping[Hashable, Any],
    result_format: Mapping[str, Any],
) -> Any:
    """Return Great Expectations' result: its own verdict on our values, or the exception that was raised."""
    from great_expectations.util import convert_to_json_serializable

    broken = [values[key] for need in needs.values() for key in need.sources if isinstance(values[key], Broken)]
    if broken:
        return _exception(expectation, broken[0])
    try:
        by_id = {
            configuration.id: needs[name].make(*(values[key] for key in needs[name].sources))
            for name, configuration in wanted.items()
        }
        result = expectation.metrics_validate(
            metrics=by_id, execution_engine=None, runtime_configuration={"result_format": dict(result_format)})
        # Some classes return NumPy booleans, which Great Expectations' own stores cannot write.
        result.success = bool(result.success)
        result.result = convert_to_json_serializable(result.result)
        return result
    except Exception as error:
        return _exception(expectation, Broken(error))


def _exception(expectation: Any, broken: Broken) -> Any:
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult

    info = {
        "raised_exception": True, "exception_message": broken.message, "exception_traceback": broken.traceback,
    }
    return ExpectationValidationResult(
        success=False, expectation_config=expectation.configuration, exception_info=info, result={})
