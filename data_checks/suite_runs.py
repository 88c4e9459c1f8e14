"""Check a table with the suite of its stage or one from a file, report in words and write a page.

If a column is missing or has another type, only that is reported; the checks of its values are skipped. A suite from a
file is JSON that a user can edit: for each check its kind and options (`data_checks/checks.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import ConfigDict, TypeAdapter, ValidationError

from reviewlm.core.config.sections.data import ChecksConfig
from reviewlm.core.errors import ConfigError
from reviewlm.core.output import write_output
from reviewlm.core.processes.ahead import call_ahead
from reviewlm.data_checks import gx
from reviewlm.data_checks.checks import (
    EXAMPLES,
    RUNS,
    SHARES,
    TEXT,
    Check,
    MeasuredCheck,
    Table,
    measure,
)
from reviewlm.data_checks.page import RESULTS, page_of
from reviewlm.data_checks.report import CRITICAL, WARNING, CheckReport, ExpectationResult
from reviewlm.data_checks.suites import COLUMNS, PRIVATE, suite_of
from reviewlm.models.options import require_name
from reviewlm.models.streams import DOCUMENTS, TokenStream
from reviewlm.models.tokens.special import UNK

PAGE = "index.html"
MARKER = ".reviewlm-data-docs"
"""Empty file in each folder that `_publish` wrote: the page in such a folder may be replaced."""
ADVICE = {
    "raw": (
        "`reviewlm data quarantine show` counts the records that could not be read, with an example.",
    )
}
"""What a reader can do if a check of the table of a stage failed."""
LIMITS = (
    "If the data are as they should be, change a limit: `reviewlm config list checks` lists them, and "
    "`--set checks.NAME=VALUE` sets one. All other limits are in data_checks/suites.py."
)
BAD_RECORDS = ((CRITICAL, 20, 1 << 62, "20 or more"), (WARNING, 3, 19, "3 to 19"))
"""Least and largest number of bad records of one file, by severity; fewer than three say nothing about a file."""
FORMAT: Literal[2] = 2
LONGEST = 300
"""Characters of the options of a check that a report shows."""


@dataclass(frozen=True)
class Suite:
    """Checks of a table.

    Args:
        name: Name shown in reports.
        checks: The checks.
        columns: Required columns, each with the accepted types (of polars, without parameters).
        private: Columns whose values no report may quote.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    name: str
    checks: Sequence[Check]
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    private: tuple[str, ...] = ()
    format: Literal[2] = FORMAT


_JSON = TypeAdapter(Suite)


def check_stage(
    stage: str,
    table: Path,
    limits: ChecksConfig,
    docs_folder: Path,
    name: str,
    facts: Mapping[str, Any] | None = None,
    data: str = "",
) -> CheckReport:
    """Check a table with the suite of its stage and write the page.

    Args:
        stage: "raw", "clean", "tokens", "predictions" or "samples".
        table: A Parquet file, or a folder of Parquet parts; only the columns of the suite are read. For "tokens": the
            folder of the stream, or what `token_table` returns.
        limits: Limits from the configuration.
        docs_folder: Folder for the page; an earlier report in it is replaced.
        name: Name of the table, as the report shows it.
        facts: Numbers that the stage reported about its result, see `suite_of`. Of "raw" also `files`: a table with the
            records, quarantined, rated and off_scale of each source.
        data: Which data the table was made from, for the page.

    Raises:
        reviewlm.models.base.ModelError: The folder of a token stream cannot be opened.
        KeyError: There is no such suite, or a fact that it needs is missing.
        Unreadable: The table cannot be read.
    """
    if stage == "tokens" and table.is_dir():
        table, facts = token_table(TokenStream.open(table))

    checks, known = suite_of(stage, limits, facts or {})
    suite = Suite(stage, checks, COLUMNS[stage], PRIVATE)
    advice = [*ADVICE.get(stage, ()), LIMITS]
    of_files = checks_of_files(known["files"], limits) if "files" in known else []
    return _run_checks(
        suite,
        Table.of(table, PRIVATE),
        docs_folder,
        name,
        advice,
        known,
        data,
        of_files,
    )


def check_with(
    file: Path,
    table: Path,
    docs_folder: Path,
    name: str = "",
) -> CheckReport:
    """Check a table with a suite from a file and write the page.

    Args:
        table: A Parquet file, or a folder of Parquet parts.
        docs_folder: Folder for the page; an earlier report in it is replaced.
        name: Name of the table, as the report shows it; default: the name of the suite.

    Raises:
        ConfigError: The file is not a suite, or the folder holds other files.
        Unreadable: The table cannot be read.
    """
    suite = load_suite(file)
    advice = [
        f"If the data are as they should be, change the limit of the check in the suite, {file}."
    ]
    return _run_checks(
        suite,
        Table.of(table, suite.private),
        docs_folder,
        name or suite.name,
        advice,
        {},
    )


def _run_checks(
    suite: Suite,
    table: Table,
    docs_folder: Path,
    name: str,
    advice: Sequence[str],
    facts: Mapping[str, Any],
    data: str = "",
    more: Sequence[MeasuredCheck] = (),
) -> CheckReport:
    """Measure the checks of a suite on a table, have them judged, and write the page and its JSON.

    Args:
        suite: The checks, and the columns that the table must have.
        table: The table.
        docs_folder: Folder for the page.
        name: Name of the table, as the report shows it.
        advice: What to do if a check failed.
        facts: Numbers that the stage reported about its result.
        data: Which data the table was made from.
        more: Further checks that are measured already.

    Raises:
        ConfigError: The folder holds other files.
    """
    _require_docs_folder(docs_folder)
    types = {column: str(kind.base_type()) for column, kind in table.schema.items()}
    unusable = {column for column, kinds in suite.columns.items() if types.get(column) not in kinds}
    if TEXT in unusable:
        unusable |= set(RUNS) - set(table.stored)

    usable = [check for check in suite.checks if unusable.isdisjoint((check.column, check.other))]
    measured = [*_columns(suite, types), *measure(table, usable, facts), *more]
    judged = [each for each in measured if not each.error]
    verdict = call_ahead(
        gx.judge_suite,
        judged,
        suite.name,
        name,
        table.height,
        list(table.schema),
    )
    broken = tuple(f"{each.check.description} ({each.error})" for each in measured if each.error)
    results = tuple(_result(each, held) for each, held in zip(judged, verdict.held, strict=True))
    critical = any(not result.passed and result.severity == CRITICAL for result in results)
    passed = not critical and not broken
    page = Path(docs_folder.name) / PAGE
    report = CheckReport(
        suite.name,
        name,
        passed,
        results,
        page,
        broken,
    )
    about = {"Suite": suite.name, "Data": data}
    about["Checked"] = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    about["Table"] = f"{table.height:,} rows (columns: {', '.join(table.schema)})"
    about["Judged by"] = f"Great Expectations {verdict.release}, measured with Polars"
    docs_folder.mkdir(parents=True, exist_ok=True)
    (docs_folder / MARKER).touch()
    (docs_folder / PAGE).write_text(page_of(report, about, advice).to_html(), encoding="utf-8")
    (docs_folder / RESULTS).write_text(verdict.document, encoding="utf-8")
    return report


def _columns(suite: Suite, types: Mapping[str, str]) -> list[MeasuredCheck]:
    """Return the check that the table has the columns of a suite, each with an accepted type."""
    if not suite.columns:
        return []

    wrong = []
    for column, kinds in suite.columns.items():
        if types.get(column) not in kinds:
            wrong.append(f"{column} {types.get(column, 'missing')}")

    words = f"The table has the columns {', '.join(suite.columns)}, each of its type"
    count = len(suite.columns)
    figure = Check("present", "columns", description=words)
    return [
        MeasuredCheck(
            figure,
            (count - len(wrong)) / count,
            count,
            len(wrong),
            tuple(wrong),
        )
    ]


def checks_of_files(files: pl.DataFrame, limits: ChecksConfig) -> list[MeasuredCheck]:
    """Return the checks of single files: a bad one may be too small to matter among all records.

    Args:
        files: The records, quarantined, rated and off_scale of each source.
        limits: Limits from the configuration.
    """
    if files.height == 1:  # the checks of the whole table judge it
        return []

    quarantined = "of its records in quarantine, by checks.max_quarantined"
    off_scale = "of its ratings other than 1, 2, 3, 4 or 5 stars, by checks.min_stars_known"
    return [
        *_over_limit(
            files,
            "quarantined",
            "records",
            limits.max_quarantined,
            quarantined,
        ),
        *_over_limit(
            files,
            "off_scale",
            "rated",
            1 - limits.min_stars_known,
            off_scale,
        ),
    ]


def _over_limit(
    files: pl.DataFrame,
    bad: str,
    of: str,
    limit: float,
    words: str,
) -> list[MeasuredCheck]:
    """Return a check for each size of `BAD_RECORDS`: no file has a larger share of bad records than the limit.

    Args:
        files: A row for each file.
        bad: Column with the number of bad records.
        of: Column with the number that they are a share of.
        limit: The largest share.
        words: What the bad records are.
    """
    over = files.filter(pl.col(bad) > limit * pl.col(of))
    over = over.sort(bad, "source", descending=[True, False])
    shown = pl.format("{} of {} in {}", bad, of, "source")
    found = []
    for severity, least, most, size in BAD_RECORDS:
        failing = over.filter(pl.col(bad).is_between(least, most))
        examples = tuple(failing.head(EXAMPLES).select(shown).to_series())
        description = f"No file has more than {limit:.1%}, and {size}, {words}"
        check = Check("present", "files", severity=severity, description=description)
        share = 1 - failing.height / files.height
        found.append(
            MeasuredCheck(
                check,
                share,
                files.height,
                failing.height,
                examples,
            )
        )

    return found


def _result(measured: MeasuredCheck, passed: bool) -> ExpectationResult:
    """Return the result of a check in words."""
    check = measured.check
    value = measured.value
    if measured.of_rows:
        observed = f"{measured.failing:,} of {measured.judged:,} {'files' if check.column == 'files' else 'rows'} fail"
        if examples := list(dict.fromkeys(map(_as_text, measured.examples))):
            observed += f", e.g. {', '.join(examples)}"
    elif check.kind in SHARES:
        observed = f"{value:.4%}"
    else:
        if isinstance(value, int):
            observed = f"{value:,}"
        else:
            observed = _as_text(value)

    columns = ", ".join(filter(None, (check.column, check.other)))
    options = "; ".join(f"{name} = {value}" for name, value in check.options().items())
    return ExpectationResult(
        check.kind,
        check.severity,
        passed,
        observed,
        f"{check.description} (observed: {observed})",
        columns,
        options[:LONGEST],
    )


def _as_text(value: Any) -> str:
    """Return an observed value as a report shows it."""
    if value is None or value != value:
        return "missing"
    if isinstance(value, float):
        return f"{value:,.6g}"
    return str(value)[:60]


def _require_docs_folder(folder: Path) -> None:
    """Refuse a folder with other files: the page could be mixed with them or overwrite them.

    Raises:
        ConfigError: The folder is not new, not empty, and was not written by a check.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise ConfigError(
            "This folder holds other things than pages of data checks",
            where=folder,
            remedy="name a new or empty folder, or remove what is in it",
        )


def token_table(stream: TokenStream) -> tuple[Path, dict[str, Any]]:
    """Return the table and the facts that the suite "tokens" needs; unknown words and largest id come from the ids.

    The ids are read in pieces, since the stream may be larger than the memory.

    Returns:
        The file of the table with a row per review, and the facts: `tokens` (number in the stream's header),
        `disagreeing` (number of reviews whose length in the table differs from the offsets), `unknown`, `largest_id`
        and `vocabulary_size`.
    """
    unknown = 0
    largest = -1
    for piece in stream.pieces():
        unknown += int(np.count_nonzero(piece == UNK))
        largest = max(largest, int(piece.max()))

    counts = pl.read_parquet(stream.folder / DOCUMENTS, columns=["tokens"])["tokens"].to_numpy()
    # A row counts neither the begin nor the star token.
    lengths = np.diff(stream.offsets[:]).astype(np.int64) - 2
    rows = min(len(counts), len(lengths))
    unlike = int(np.count_nonzero(counts[:rows] != lengths[:rows]))
    disagreeing = unlike + abs(len(counts) - len(lengths))
    return stream.folder / DOCUMENTS, {
        "tokens": int(stream.tokens),
        "disagreeing": disagreeing,
        "unknown": unknown,
        "largest_id": largest,
        "vocabulary_size": int(stream.vocabulary_size),
    }


def save_suite(suite: Suite, file: Path) -> None:
    """Write a suite as JSON; values that are defaults are left out. A bound that is no number raises ValueError."""
    content = {"format": FORMAT, **_JSON.dump_python(suite, exclude_defaults=True)}
    write_output(
        file,
        json.dumps(
            content,
            indent=1,
            allow_nan=False,
            default=lambda day: day.isoformat(),
        )
        + "\n",
    )


def load_suite(file: Path) -> Suite:
    """Read a suite that `save_suite` or a person wrote.

    Raises:
        ConfigError: The file is not a suite, or one of its checks has an unknown kind or option.
    """
    try:
        suite = _JSON.validate_json(file.read_bytes())
        require_name(suite.name)
    except (OSError, ValueError) as error:
        where = str(file)
        cause = str(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            where += f", check {first['loc'][1] + 1}" if first["loc"][0:1] == ("checks",) else ""  # type: ignore[operator]
            cause = f"{'.'.join(map(str, first['loc']))} {first['input']}: {first['msg']}"
        raise ConfigError("This is not a suite of checks", where=where, cause=cause) from error

    named = [
        replace(one, description=one.description or f"{one.kind} {one.column}")
        for one in suite.checks
    ]
    return replace(suite, checks=named)
