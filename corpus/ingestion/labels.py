"""Read what classifiers predict from a field of the raw files: the label of each review of a data set.

The reviews themselves are not stored again: another field, or corrected labels, leave all other results as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import polars as pl

from core.config.run_config import SourceConfig
from corpus.ingestion.ingest import limits_of
from corpus.reading.readers import Progress, read
from corpus.reading.sources import Source
from corpus.schema import LABEL, Limits

PLACE = ["source", "line"]


def limits_with_label(config: SourceConfig, field: str) -> Limits:
    """Return the limits for readers that also read a field of the files as `LABEL`."""
    limits = limits_of(config)
    return replace(limits, renamed={**limits.renamed, LABEL: field})


def read_labels(
    sources: Sequence[Source], parts: Iterator[pl.DataFrame], config: SourceConfig, field: str,
    report: Callable[[int], None] | None = None,
) -> pl.DataFrame:  # fmt: skip
    """Return the labels of the reviews of a data set; reviews without a label are left out.

    A review is found again by its place (`source` and `line`), because records may have no id or share one.

    Args:
        sources: The files of the data set, each once; their names are the `source` of their records.
        parts: The data set's reviews.
        config: Names of the other fields, and limits.
        field: Name of the field in the files.
        report: Called with the bytes read so far.

    Returns:
        A table with the columns review_id and label, sorted by review_id.

    Raises:
        MissingColumn: A file does not have the field.
        Unreadable: A file is damaged, or it has changed since it was identified.
    """
    limits, progress = limits_with_label(config, field), Progress()
    found = [pl.DataFrame(schema={"source": pl.String(), "line": pl.Int64(), LABEL: pl.String()})]
    for source in sources:
        for block in read(source.path, source.name, limits, progress):
            found.append(block.good.select(*PLACE, LABEL).drop_nulls(LABEL))
            if report:
                report(progress.bytes_done)
        source.require_unchanged()
    labels = pl.concat(found)
    ids = [part.select("review_id", *PLACE).join(labels, on=PLACE, how="inner") for part in parts]
    empty = pl.DataFrame(schema={"review_id": pl.String(), LABEL: pl.String()})
    return pl.concat([empty, *(frame.select("review_id", LABEL) for frame in ids)]).sort("review_id")
