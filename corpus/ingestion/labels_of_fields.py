"""Read the labels of reviews from a field of their files, for classifiers.

The reviews are not stored again, so another field leaves all other results as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import polars as pl

from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.errors import MissingColumn, Unreadable
from reviewlm.corpus.ingestion.ingest import reading_options
from reviewlm.corpus.reading.readers import Progress, read
from reviewlm.corpus.reading.sources import Source
from reviewlm.corpus.schema import LABEL, ReadingOptions

PLACE = ["source", "line"]
SOURCE = pl.col("source").cast(pl.Categorical)
"""Many reviews have the same source, which is kept once this way."""


def reading_options_with_label(config: SourceConfig, field: str) -> ReadingOptions:
    """Return the options for readers that also read a field of the files as `LABEL`."""
    options = reading_options(config)
    return replace(options, renamed={**options.renamed, LABEL: field})


def read_labels(
    sources: Sequence[Source],
    parts: Iterator[pl.DataFrame],
    config: SourceConfig,
    field: str,
    report: Callable[[int], None] | None = None,
) -> pl.DataFrame:
    """Return the columns review_id and label of the reviews of a data set that have one, sorted by review_id.

    A review is found again by its place (`source` and `line`), because records may have no id or share one.

    Args:
        sources: The files of the data set, each once; their names are the `source` of their records.
        parts: The data set's reviews.
        config: Names of the other fields, and options, as they were when the reviews were read.
        report: Called with the bytes read so far.

    Raises:
        MissingColumn: A table does not have the field, or no record has it.
        Unreadable: A file is damaged, or it does not hold the reviews that were read from it.
    """
    options = reading_options_with_label(config, field)
    progress = Progress()
    schema = {
        "source": pl.Categorical(),
        "line": pl.Int64(),
        "content": pl.UInt64(),
        "label": pl.String(),
    }
    frames = [pl.DataFrame(schema=schema)]
    for source in sources:
        for block in read(source.path, source.name, options, progress):
            frames.append(
                block.good.select(
                    SOURCE, "line", pl.col("text").hash().alias("content"), label=LABEL
                )
            )
            if report:
                report(progress.bytes_done)
        source.require_unchanged()

    labels = pl.concat(frames)
    if not labels["label"].count():
        raise MissingColumn(
            f"There is no field {field!r}",
            where=", ".join(source.name for source in sources)[:200],
            cause="no record has it, or it is empty everywhere",
            remedy="name another: --set classification.label=NAME",
        )

    tables = [pl.DataFrame(schema={"review_id": pl.String(), "label": pl.String()})]
    for part in parts:
        here = part.select("review_id", SOURCE, "line", pl.col("text").hash().alias("then"))
        joined = here.join(
            labels,
            on=PLACE,
            how="left",
            maintain_order="left",
        )
        _require_same(joined)
        tables.append(joined.drop_nulls("label").select("review_id", "label"))

    return pl.concat(tables).sort("review_id")


def _require_same(joined: pl.DataFrame) -> None:
    """Refuse a place at which another text stands than when the reviews were read."""
    other = joined.filter(pl.col("content").ne_missing(pl.col("then")))
    if other.height:
        source = other.row(0, named=True)["source"]
        line = other["line"][0]
        raise Unreadable(
            "The file does not hold the reviews that were read from it",
            where=f"{source}, line {line}",
            cause="another version of this program numbers its records in another way",
            remedy="read the reviews again: `reviewlm data ingest --rebuild read`",
        )
