"""The checks between the stages: hold a table against its suite, report in words, write the Data Docs.

A suite looks at up to three tables: the columns and their types, the rows, and facts of the whole in one row. Where a
column is missing or of another type, that alone is reported, and what is expected of its values is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from data_checks import expectations
from data_checks.engine import Batch, run
from data_checks.expectations import COLUMNS, Case
from data_checks.report import CRITICAL, CheckReport, ExpectationResult
from models.streams import CHUNK, TokenStream
from models.vocabulary import UNK
from reviewlm.config import ChecksConfig
from reviewlm.errors import ReviewLMError

__all__ = ["CheckReport", "ExpectationResult", "check", "token_table"]

PAGE = "index.html"


def check(
    stage: str,
    frame: pl.DataFrame | Path,
    limits: ChecksConfig,
    docs_folder: Path,
    name: str,
    facts: Mapping[str, Any] | None = None,
) -> CheckReport:
    """Hold a table against the suite of its stage and write the Data Docs.

    Args:
        stage: "raw", "clean", "tokens", "predictions" or "samples".
        frame: The table, a Parquet file, or a folder of Parquet parts; only the columns of the suite are read. For
            "tokens" the folder of the stream, or what `token_table` returns.
        limits: Of the configuration.
        docs_folder: Gets index.html and its pages; an earlier report in it is replaced.
        name: Of the table, as the report shows it.
        facts: What the stage said of its result. raw: rows, quarantined. tokens, of a table: see `token_table`.

    Raises:
        models.base.ModelError: The folder of a token stream cannot be opened.
        ReviewLMError: There is no such suite, or a fact that it needs is absent.
    """
    if stage not in COLUMNS:
        raise ReviewLMError(f"There is no suite '{stage}'", remedy=f"one of {', '.join(COLUMNS)}")
    if stage == "tokens" and isinstance(frame, Path):
        frame, facts = token_table(TokenStream.open(frame))
    table = frame.lazy() if isinstance(frame, pl.DataFrame) else pl.scan_parquet(frame)
    schema = {column: str(kind.base_type()) for column, kind in table.collect_schema().items()}
    usable = [column for column, kinds in COLUMNS[stage].items() if schema.get(column) in kinds]
    case = Case(stage, table.select(usable), frozenset(usable), limits, dict(facts or {}))
    outcome = run([_columns(stage, schema), *_values(case)], docs_folder, name)
    critical = any(not result.passed and result.severity == CRITICAL for result in outcome.results)
    page = Path(docs_folder.name) / PAGE
    return CheckReport(stage, name, not critical and not outcome.broken, outcome.results, page, outcome.broken)


def token_table(stream: TokenStream) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return the table and the facts that the suite "tokens" wants of a stream, counted anew from its ids.

    Returns:
        `stream.documents` with the column tokens as the offsets have it (the length of a review without the begin and
        the star token), and the facts tokens (as the stream says), disagreeing (reviews whose row says otherwise than
        the offsets), unknown, largest_id and vocabulary_size.
    """
    counts_V = _counts(stream)
    lengths = np.diff(stream.offsets).astype(np.int64) - 2
    facts = {
        "tokens": int(stream.tokens),
        "disagreeing": int(np.count_nonzero(lengths != stream.documents["tokens"].to_numpy())),
        "unknown": int(counts_V[UNK]),
        "largest_id": len(counts_V) - 1,
        "vocabulary_size": int(stream.vocabulary_size),
    }
    return stream.documents.with_columns(tokens=pl.Series(lengths)), facts


def _counts(stream: TokenStream) -> np.ndarray:
    """Count each id up to the largest; a piece at a time, so that a stream larger than the memory can be checked."""
    counts_V = np.zeros(UNK + 1, np.int64)
    for start in range(0, len(stream.ids), CHUNK):
        piece_V = np.bincount(stream.ids[start : start + CHUNK], minlength=len(counts_V))
        counts_V = piece_V + np.pad(counts_V, (0, len(piece_V) - len(counts_V)))
    return counts_V


def _columns(stage: str, schema: Mapping[str, str]) -> Batch:
    """Return one row per column that must be there, with the type it has ("missing" if it is not there)."""
    wanted = list(COLUMNS[stage])
    frame = pl.DataFrame({"column": wanted, "type": [schema.get(column, "missing") for column in wanted]})
    return Batch(f"{stage} columns", frame, [expectations.columns(stage)])


def _values(case: Case) -> list[Batch]:
    """Return the rows, and the facts of the whole; of each only what can be judged."""
    expected = [each for each in expectations.ROWS[case.stage](case) if each.column in case.usable]
    looked_at = case.table.select(list(dict.fromkeys(each.column for each in expected)))
    if any(each.column == "text" for each in expected):
        # Lengths are all that is looked at: texts need not leave polars, and Data Docs must not quote reviews.
        looked_at = looked_at.with_columns(pl.col("text").str.len_chars().alias("text"))
    whole, of_whole = expectations.WHOLE[case.stage](case)
    batches = [Batch(f"{case.stage} rows", looked_at.collect(), expected)]
    of_whole = [each for each in of_whole if each.column in whole.columns]
    return [batch for batch in [*batches, Batch(f"{case.stage} whole", whole, of_whole)] if batch.expectations]
