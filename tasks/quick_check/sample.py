"""Copy the first reviews of each input file into one small file."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import cast

import orjson
import polars as pl

from core.config.run_config import RunConfig
from core.errors import EmptyInput
from corpus.ingestion.ingest import limits_of
from corpus.reading.readers import Progress, read
from corpus.reading.sources import source_names
from corpus.schema import COLUMNS, FIELDS, Block

PLAIN = orjson.OPT_PASSTHROUGH_DATETIME
"""Dates are written by `str`, as in Yelp's files."""
MOST_BLOCKS = 8
MOST_FILES = 20
"""Files that are opened; more would only cost time."""


def write_sample(config: RunConfig, file: Path, most: int) -> int:
    """Write at most *most* reviews of the input to *file* as JSON lines, and return their number.

    The files are read by the readers of the pipeline. Each gives the same number of reviews, from its beginning; if
    some have fewer, the others give more.

    Raises:
        Unreadable, MissingColumn: A file cannot be read.
        EmptyInput: No file has a usable review at its beginning.
    """
    limits = replace(limits_of(config.source), workers=1)
    beginnings = []
    for path, name in list(source_names(config.source.input).items())[:MOST_FILES]:
        beginning = _beginning(cast(Generator[Block], read(path, name, limits, Progress())), most)
        beginnings.append(beginning.with_columns(number=pl.int_range(pl.len())))
    rows = pl.concat(beginnings).sort("number", maintain_order=True).head(most).select(FIELDS)
    if rows.is_empty():
        raise EmptyInput("No file has a review that can be used", where=", ".join(config.source.input),
                         remedy="`reviewlm ingest` names the reasons, record by record")  # fmt: skip
    known = [{name: value for name, value in row.items() if value is not None} for row in rows.iter_rows(named=True)]
    file.write_bytes(b"".join(orjson.dumps(row, default=str, option=PLAIN) + b"\n" for row in known))
    return rows.height


def _beginning(blocks: Generator[Block], most: int) -> pl.DataFrame:
    """Return at most *most* usable reviews of a file; after `MOST_BLOCKS` blocks the rest is not read."""
    found = pl.DataFrame(schema=COLUMNS)
    with closing(blocks):
        for block in islice(blocks, MOST_BLOCKS):
            found = pl.concat([found, block.good.select(*COLUMNS)]).head(most)
            if found.height == most:
                break
    return found
