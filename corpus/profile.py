"""Profile prepared reviews as small tables; draw a sample of a data set, whatever the order of its files.

    profile = profile_of(clean.folder)         # one pass over the small columns; memory does not grow with the texts

The sample consists of the reviews with the lowest places, that is, the lowest hashes of their ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from reviewlm.core.errors import EmptyInput
from reviewlm.corpus.cleaning.normalise import normalise
from reviewlm.corpus.ingestion.ingest import iter_parts
from reviewlm.corpus.schema import byte_count, whole_stars, word_count
from reviewlm.corpus.splitting.split import SPLITS, TABLE, TRAIN_FIRST, iter_split, places
from reviewlm.models.text.normal_form import NormalForm

SALT = "sample"
ORDER = ("place", "review_id")
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
NAMES = 15
"""Categories and cities that are listed."""
SAMPLES_PER_STAR = 3
SAMPLE_WORDS = (15, 120)
SAMPLED = 20_000
"""First reviews of train among which samples are looked for."""


def sample_reviews(
    dataset_folder: Path,
    reviews: int,
    form: NormalForm,
    eligible: Sequence[np.ndarray] | None = None,
    by_month: bool = False,
) -> pl.DataFrame:
    """Return at most *reviews* cleaned reviews of an ingested data set, drawn by a hash of their ids.

    Args:
        dataset_folder: Folder of the data set, with `parts/`.
        reviews: Largest number of reviews; texts that are empty after cleaning are left out afterwards.
        eligible: For each part, a mask of the rows that may be drawn; default: all.
        by_month: Draw as many of each month; reviews without a date are left out.

    Returns:
        Columns review_id, text, stars (Int8, 0 where unknown), bytes (UTF-8 of the text + 1), words, date, business_id
        and month ("2024-05"), in the order of the draw; by month that within each month.
    """
    chosen: list[pl.DataFrame] = []
    for number, part in enumerate(iter_parts(dataset_folder)):
        rows = part
        if eligible is not None:
            rows = part.filter(eligible[number])

        rows = pl.concat([*chosen, rows.with_columns(places(rows["review_id"], SALT), month_of())])
        if by_month:
            chosen = [first_of_months(rows.drop_nulls("month"), reviews, *ORDER)]
        else:
            chosen = [rows.bottom_k(reviews, by="place").sort(*ORDER)]

    rows = (
        chosen[0]
        .with_columns(normalise(chosen[0]["text"], form).alias("text"))
        .filter(pl.col("text") != "")
    )
    return rows.select(
        "review_id",
        "text",
        whole_stars().alias("stars"),
        byte_count().alias("bytes"),
        word_count().alias("words"),
        "date",
        "business_id",
        "month",
    )


def month_of() -> pl.Expr:
    """Return the month of the column `date` as text, "2024-05"."""
    return pl.col("date").dt.strftime("%Y-%m").alias("month")


def first_of_months(rows: pl.DataFrame, reviews: int, *order: str) -> pl.DataFrame:
    """Return the first *reviews* rows of each month, by *order*; without it, in the order in which they came."""
    return (
        rows.sort("month", *order, maintain_order=True)
        .group_by("month", maintain_order=True)
        .head(reviews)
    )


@dataclass(frozen=True)
class Profile:
    """The tables; the splits stand in the order train, validation, test.

    Args:
        splits: split, reviews, words, bytes, dated, businesses and authors (0 where no review names one).
        stars: split, and the reviews of each rating as columns "0" (unknown) to "5".
        lengths: split, mean, and the `QUANTILES` of the words per review as columns "1%", ….
        months: month ("2015-03") and split with the number of reviews.
        doublings: Words per review (lower end of 1, 2, 4, …, doubling) and split with the number of reviews.
        names: By "categories" and "cities": name and reviews, the most frequent first; a business has several.
        samples: By rating: the first reviews of train that are neither very short nor very long.
    """

    splits: pl.DataFrame
    stars: pl.DataFrame
    lengths: pl.DataFrame
    months: pl.DataFrame
    doublings: pl.DataFrame
    names: Mapping[str, pl.DataFrame]
    samples: Mapping[int, list[str]]

    def to_dict(self) -> dict[str, Any]:
        """Return the tables as JSON values, without the samples."""
        tables = {}
        for name, value in vars(self).items():
            if isinstance(value, pl.DataFrame):
                tables[name] = value.to_dicts()

        return tables | {"names": {name: table.to_dicts() for name, table in self.names.items()}}


def profile_of(folder: Path) -> Profile:
    """Return the profile of prepared reviews.

    Args:
        folder: Holds `clean.parquet`.

    Raises:
        EmptyInput: There are no reviews.
    """
    reviews = pl.scan_parquet(folder / TABLE)
    by_split = reviews.group_by("split")
    words = pl.col("words")
    names = {"categories": pl.col("categories").str.split(", "), "cities": pl.concat_list("city")}
    sizes = by_split.agg(
        pl.len().alias("reviews"),
        pl.col("words", "bytes").cast(pl.Int64).sum(),
        dated=pl.col("date").count(),
        businesses=_distinct("business_id"),
        authors=_distinct("user_id"),
    )
    rating = pl.col("stars").fill_null(0)
    ratings = by_split.agg((rating == star).sum().alias(str(star)) for star in range(6))
    quantiles = (words.quantile(q, "linear").alias(f"{q:.0%}") for q in QUANTILES)
    word_counts = by_split.agg(words.mean().alias("mean"), *quantiles)
    month = pl.col("date").dt.strftime("%Y-%m").alias("month")
    by_month = reviews.drop_nulls("date").group_by(month, "split").len("reviews")
    by_doubling = reviews.group_by(_doubling(words).alias("words"), "split").len("reviews")
    frequent = (_most_frequent(reviews, name) for name in names.values())
    splits, stars, lengths, months, doublings, *rankings = pl.collect_all(
        [sizes, ratings, word_counts, by_month, by_doubling, *frequent]
    )
    if splits.is_empty():
        raise EmptyInput("There are no reviews to describe", where=folder)

    months = months.sort("month", "split")
    doublings = doublings.sort("words", "split")
    return Profile(
        _in_order(splits),
        _in_order(stars),
        _in_order(lengths),
        months,
        doublings,
        dict(zip(names, rankings, strict=True)),
        _samples(folder),
    )


def _distinct(column: str) -> pl.Expr:
    """Return the number of different ids of a column."""
    return pl.col(column).drop_nulls().hash().n_unique()


def _most_frequent(reviews: pl.LazyFrame, lists: pl.Expr) -> pl.LazyFrame:
    """Return the most frequent names with their reviews; *lists* gives the names of a review."""
    each = reviews.select(name=lists).explode("name").drop_nulls()
    counted = each.group_by("name").len("reviews")
    return counted.sort("reviews", "name", descending=[True, False]).head(NAMES)


def _doubling(words: pl.Expr) -> pl.Expr:
    """Return the largest power of two that is not above a number of words; of none, 1."""
    return (2 ** (words.clip(1).log(2) + 1e-9).floor()).cast(pl.Int64)


def _in_order(table: pl.DataFrame) -> pl.DataFrame:
    """Return a table with its splits in the order train, validation, test."""
    ranks = {name: place for place, name in enumerate(TRAIN_FIRST)}
    return table.sort(pl.col("split").replace_strict(ranks))


def _samples(folder: Path) -> dict[int, list[str]]:
    """Return the first reviews of each rating; the order of the table is like a shuffle."""
    first = next(iter(iter_split(folder, SPLITS[-1], SAMPLED)), None)
    if first is None:
        return {}
    fitting = first.filter(pl.col("words").is_between(*SAMPLE_WORDS))
    rated = {
        star: fitting.filter(stars=star)["text"].head(SAMPLES_PER_STAR).to_list()
        for star in range(1, 6)
    }
    return {star: texts for star, texts in rated.items() if texts}
