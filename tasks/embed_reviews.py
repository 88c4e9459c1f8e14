"""Read the reviews that `reviewlm models nearest` searches: whole splits of prepared data, or files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from core.config.run_config import RunConfig
from core.errors import EmptyInput
from core.store import Artifact
from corpus.cleaning.normalise import normalise
from corpus.ingestion.ingest import limits_of
from corpus.reading.readers import Progress, read
from corpus.reading.sources import source_names
from corpus.splitting.split import SPLITS, iter_split
from models.text.normal_form import NormalForm

COLUMNS = {
    "review_id": pl.String, "text": pl.String, "stars": pl.Float32, "user_id": pl.String, "business_id": pl.String,
}  # fmt: skip
"""Columns of the result; texts are in normal form."""
log = logging.getLogger(__name__)


def prepared_reviews(clean: Artifact, splits: Sequence[str]) -> pl.DataFrame:
    """Return the reviews of some splits of prepared data.

    Raises:
        EmptyInput: There are none.
    """
    names = list(COLUMNS)
    return _some([frame for split in SPLITS if split in splits for frame in iter_split(clean.folder, split)], names)


def reviews_of_files(config: RunConfig, files: Sequence[str]) -> pl.DataFrame:
    """Return the reviews of files; records that cannot be used are left out, with a warning.

    Args:
        files: Files, folders or globs.

    Raises:
        Unreadable, MissingColumn: A file cannot be read.
        EmptyInput: There are no reviews.
    """
    limits, frames, bad = replace(limits_of(config.source), workers=1), [], 0
    for path, name in source_names(files).items():
        for block in read(path, name, limits, Progress()):
            bad += block.bad.height
            frames.append(block.good)
    if bad:
        what = "1 record cannot be used and is" if bad == 1 else f"{bad:,} records cannot be used and are"
        log.warning("%s left out; `reviewlm data ingest` names the reasons", what)
    reviews = _some(frames, list(COLUMNS))
    return reviews.with_columns(text=normalise(reviews["text"], NormalForm(**config.clean.model_dump())))


def _some(frames: Sequence[pl.DataFrame], names: Sequence[str]) -> pl.DataFrame:
    if not sum(frame.height for frame in frames):
        raise EmptyInput("There are no reviews to search", remedy="name others: --input FILES, or --split train")
    return pl.concat([frame.select(names).cast(COLUMNS) for frame in frames])  # type: ignore[arg-type]
