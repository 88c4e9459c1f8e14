"""Read what classifiers predict from a field of the raw files: the label of each review of a data set.

The reviews are not stored again, so another field leaves all other results as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl

from core.config.sections.source import SourceConfig
from core.errors import MissingColumn, Unreadable
from corpus.ingestion.ingest import limits_of
from corpus.reading.readers import Progress, read
from corpus.reading.sources import Source
from corpus.schema import LABEL, Limits

PLACE = ["source", "line"]
SOURCE = pl.col("source").cast(pl.Categorical)
"""Many reviews have the same source, which is kept once this way."""


@dataclass(frozen=True)
class LabelledReviews:
    """Labels of the reviews of a data set.

    Args:
        table: Columns review_id and label, sorted by review_id; reviews without a label are left out.
        unplaced: Reviews that are not in the files as they are now, such as corrected records of the quarantine.
    """

    table: pl.DataFrame
    unplaced: int


def limits_with_label(config: SourceConfig, field: str) -> Limits:
    """Return the limits for readers that also read a field of the files as `LABEL`."""
    limits = limits_of(config)
    return replace(limits, renamed={**limits.renamed, LABEL: field})


def read_labels(
    sources: Sequence[Source], parts: Iterator[pl.DataFrame], config: SourceConfig, field: str,
    report: Callable[[int], None] | None = None,
) -> LabelledReviews:  # fmt: skip
    """Return the labels of the reviews of a data set.

    A review is found again by its place (`source` and `line`), because records may have no id or share one.

    Args:
        sources: The files of the data set, each once; their names are the `source` of their records.
        parts: The data set's reviews.
        config: Names of the other fields, and limits, as they were when the reviews were read.
        report: Called with the bytes read so far.

    Raises:
        MissingColumn: A table does not have the field, or no record has it.
        Unreadable: A file is damaged, or it does not hold the reviews that were read from it.
    """
    limits, progress = limits_with_label(config, field), Progress()
    schema = {"source": pl.Categorical(), "line": pl.Int64(), "content": pl.UInt64(), "label": pl.String()}
    found = [pl.DataFrame(schema=schema)]
    for source in sources:
        for block in read(source.path, source.name, limits, progress):
            found.append(block.good.select(SOURCE, "line", pl.col("text").hash().alias("content"), label=LABEL))
            if report:
                report(progress.bytes_done)
        source.require_unchanged()
    labels = pl.concat(found)
    if not labels["label"].count():
        raise MissingColumn(
            f"There is no field {field!r}", where=", ".join(source.name for source in sources)[:200],
            cause="no record has it, or it is empty everywhere", remedy="name another: --set classification.label=NAME",
        )
    tables, unplaced = [pl.DataFrame(schema={"review_id": pl.String(), "label": pl.String()})], 0
    for part in parts:
        here = part.select("review_id", SOURCE, "line", pl.col("text").hash().alias("then"))
        joined = here.join(labels, on=PLACE, how="left", maintain_order="left")
        _require_same(joined)
        unplaced += joined["content"].null_count()
        tables.append(joined.drop_nulls("label").select("review_id", "label"))
    return LabelledReviews(pl.concat(tables).sort("review_id"), unplaced)


def _require_same(joined: pl.DataFrame) -> None:
    """Refuse a place at which another text stands than when the reviews were read."""
    other = joined.filter(pl.col("content") != pl.col("then"))
    if other.height:
        source, line = other.row(0, named=True)["source"], other["line"][0]
        raise Unreadable(
            "The file does not hold the reviews that were read from it", where=f"{source}, line {line}",
            cause="another version of this program numbers its records in another way",
            remedy="read the reviews again: reviewlm data ingest --rebuild read",
        )
