"""Draw a random sample of an ingested data set that does not depend on the order of its files.

The sample consists of the reviews with the lowest places, that is, the lowest hashes of their ids.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from corpus.cleaning.normalise import normalise
from corpus.ingestion.ingest import iter_parts
from corpus.schema import byte_count, whole_stars, word_count
from corpus.splitting.split import places
from models.text.normal_form import NormalForm

COLUMNS = ("review_id", "text", "stars", "bytes", "words", "date", "business_id")
SALT = "sample"


def sample_reviews(
    dataset_folder: Path,
    reviews: int,
    form: NormalForm,
    eligible: Callable[[pl.Series], pl.Series] = lambda ids: ids.is_not_null(),
) -> pl.DataFrame:
    """Return at most *reviews* cleaned reviews of an ingested data set, drawn by a hash of their ids.

    Args:
        dataset_folder: Folder of the data set, with `parts/`.
        reviews: Largest number of reviews; texts that are empty after cleaning are left out afterwards.
        eligible: Gets the review_ids of a part, returns which of them may be drawn.

    Returns:
        Columns review_id, text, stars (Int8, 0 where unknown), bytes (UTF-8 of the text + 1), words, date, business_id.
    """
    chosen: list[pl.DataFrame] = []
    for part in iter_parts(dataset_folder):
        rows = part.filter(eligible(part["review_id"]))
        chosen.append(rows.with_columns(places(rows["review_id"], SALT)).bottom_k(reviews, by="place"))
        chosen = [pl.concat(chosen).bottom_k(reviews, by="place")]
    return _cleaned(chosen[0].sort("place", "review_id"), form) if chosen else _none()


def sample_months(
    dataset_folder: Path,
    reviews: int,
    form: NormalForm,
    eligible: Callable[[pl.Series], pl.Series] = lambda ids: ids.is_not_null(),
) -> pl.DataFrame:
    """Return at most *reviews* cleaned reviews of each month; those without a date are left out.

    Args:
        dataset_folder: See `sample_reviews`; the same for *form* and *eligible*.
        reviews: Largest number of reviews in a month.

    Returns:
        The columns of `sample_reviews` and `month` ("2024-05"), by month.
    """
    chosen: list[pl.DataFrame] = []
    for part in iter_parts(dataset_folder):
        rows = part.filter(eligible(part["review_id"]) & part["date"].is_not_null())
        chosen.append(rows.with_columns(places(rows["review_id"], SALT), month_of()))
        chosen = [first_of_months(pl.concat(chosen), reviews, "place", "review_id")]
    if not chosen:
        return _none().with_columns(pl.lit(None, pl.String).alias("month"))
    return _cleaned(chosen[0], form, "month")


def month_of() -> pl.Expr:
    """Return the month of the column `date` as text, "2024-05"."""
    return pl.col("date").dt.strftime("%Y-%m").alias("month")


def first_of_months(rows: pl.DataFrame, reviews: int, *order: str) -> pl.DataFrame:
    """Return the first *reviews* rows of each month, sorted by month and *order* (without *order* in their order)."""
    return rows.sort("month", *order, maintain_order=True).group_by("month", maintain_order=True).head(reviews)


def _none() -> pl.DataFrame:
    return pl.DataFrame(schema=dict.fromkeys(COLUMNS, pl.String))


def _cleaned(rows: pl.DataFrame, form: NormalForm, *more: str) -> pl.DataFrame:
    return rows.with_columns(normalise(rows["text"], form).alias("text")).filter(pl.col("text") != "").select(
        "review_id", "text", whole_stars().alias("stars"), byte_count().alias("bytes"), word_count().alias("words"),
        "date", "business_id", *more,
    )
