"""Tables and planted defects that several test files look at."""

import tempfile
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path

import polars as pl

FOLDER, NUMBERS = tempfile.TemporaryDirectory(), count()


def stored(frame):
    """The Parquet file with a frame."""
    file = Path(FOLDER.name) / f"{next(NUMBERS)}.parquet"
    frame.write_parquet(file)
    return file


WORDS = [
    "the",
    "food",
    "was",
    "great",
    "and",
    "we",
    "will",
    "come",
    "back",
    "for",
    "more",
    "of",
    "it",
    "soon",
    "since",
    "service",
    "is",
    "quick",
    "friendly",
]


def varied_reviews(rows=400):
    """A raw table whose columns vary as those of real reviews do."""
    texts = [
        " ".join(WORDS[(i + 5 * k) % len(WORDS)] for k in range(3 + i * 7 % 40)) + f" {i}."
        for i in range(rows)
    ]
    return pl.DataFrame(
        {
            "review_id": [f"{i * 7919 % 10**9:09d}aBcDeFgHiJkL_" for i in range(rows)],
            "user_id": [f"user{i % 37:04d}" for i in range(rows)],
            "stars": [float((i * 7 + i // 5) % 5 + 1) for i in range(rows)],
            "useful": [i * 13 % 7 for i in range(rows)],
            "text": texts,
            "date": [datetime(2015, 3, 1) + timedelta(days=i * 3 % 900) for i in range(rows)],
            "line": list(range(rows)),
        },
        schema_overrides={"stars": pl.Float32, "useful": pl.Int32},
    )


def planted(
    column,
    value,
    rows=1,
):
    """Put *value* into the first rows of a column."""
    place = pl.int_range(pl.len()) < rows
    return pl.when(place).then(pl.lit(value)).otherwise(pl.col(column)).alias(column)
