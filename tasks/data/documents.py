"""What is known of the test reviews besides their text and scores: date, categories, and which are not independent.

Reviews that were drawn together are one group: all of a user, or of a business, where the split keeps those together.
Another reason why reviews belong together is a function in `GROUPINGS`.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from core.store import Artifact
from corpus.cleaning.clean_table import COPIES_FILE
from corpus.splitting.grouping import KEYS
from evaluation.statistics.groups import GROUP, united

Grouping = Callable[[Artifact, pl.DataFrame], pl.Series | None]
"""From prepared data and their test reviews (columns of clean.parquet) to a key of each review, null where it has none;
None where this grouping says nothing of these data. The name of the series is shown to people."""


def split_key(clean: Artifact, reviews: pl.DataFrame) -> pl.Series | None:
    """Return the user or business by which the data were split: groups of them were drawn, not reviews.

    A split by review draws reviews, and one by month takes all of the latest: neither makes groups.
    """
    by = clean.facts.get("grouping", {}).get("by", "review")
    if by not in ("user", "business"):
        return None
    return reviews.select(pl.when(pl.col(KEYS[by]) != "").then(pl.col(KEYS[by])).alias(by)).to_series()


def copies(clean: Artifact, reviews: pl.DataFrame) -> pl.Series | None:
    """Return the group of reviews that repeat each other within the test, exactly or nearly; None where there are none.

    Data that were prepared before copies were written down have none.
    """
    file = clean.folder / COPIES_FILE
    if not file.exists():
        return None
    groups = pl.read_parquet(file).filter(pl.col("split") == "test").select("review_id", "group").unique("review_id")
    if groups.is_empty():
        return None
    known = reviews.select("review_id").join(groups, on="review_id", how="left", maintain_order="left")
    return known["group"].alias("copies of a text")


GROUPINGS: tuple[Grouping, ...] = (split_key, copies)


def documents_of(clean: Artifact) -> pl.DataFrame:
    """Return review_id, date, categories, user_id, business_id and, if any is known, `group` of the test reviews.

    Args:
        clean: Prepared data. Its split and its duplicates decide, not those of today's configuration.
    """
    columns = ["review_id", "date", "categories", "user_id", "business_id"]
    table = pl.scan_parquet(clean.folder / "clean.parquet").filter(pl.col("split") == "test").select(columns).collect()
    keys = _keys(clean, table)
    return table.with_columns(united(*keys).alias(GROUP)) if keys else table


def grouped_by(clean: Artifact, documents: pl.DataFrame) -> str:
    """Return what makes test reviews one group, in words; empty where each is its own."""
    return " and ".join(key.name for key in _keys(clean, documents))


def _keys(clean: Artifact, table: pl.DataFrame) -> list[pl.Series]:
    found = (grouping(clean, table) for grouping in GROUPINGS)
    return [keys for keys in found if keys is not None]
