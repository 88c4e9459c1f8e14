"""Read facts about the test reviews that scores lack: date, categories, coverage, dependent reviews (no stage).

Reviews that the split drew together are one group: all reviews of one user or of one business. So are reviews that
repeat each other.
"""

from __future__ import annotations

import polars as pl

from reviewlm.core.store import Artifact
from reviewlm.corpus.cleaning.clean_table import COPIES_FILE, COVERAGE_FILE
from reviewlm.corpus.splitting.split import KEYS, scan_split
from reviewlm.evaluation.statistics.groups import GROUP, connect_groups


def split_key(clean: Artifact, reviews: pl.DataFrame) -> pl.Series | None:
    """Return the user or business of each review if the data were split by user or business, else None.

    Such a split draws whole groups of reviews. A split by review draws single reviews, and a split by month takes all
    of the latest reviews: neither makes groups.
    """
    by = clean.facts.get("grouping", {}).get("by", "review")
    if by not in ("user", "business"):
        return None

    key = pl.col(KEYS[by])
    known = pl.when(key != "").then(key).alias(by)
    return reviews.select(known).to_series()


def copies(clean: Artifact, reviews: pl.DataFrame) -> pl.Series | None:
    """Return the group of each test review that has exact or near-duplicates in the test split; None if none has."""
    file = clean.folder / COPIES_FILE
    if not file.exists():
        return None

    copies_of_test = pl.read_parquet(file).filter(pl.col("split") == "test")
    groups = copies_of_test.select("review_id", "group").unique("review_id")
    if groups.is_empty():
        return None

    grouped = reviews.select("review_id").join(
        groups,
        on="review_id",
        how="left",
        maintain_order="left",
    )
    return grouped["group"].alias("copies of a text")


def documents_of(clean: Artifact) -> pl.DataFrame:
    """Return review_id, date, categories, user_id and business_id of the test reviews.

    If it was measured, also the `coverage` by training text; if a grouping applies, also `group`.

    Args:
        clean: Prepared data. Groups follow its own split and duplicates, not the current configuration.
    """
    columns = ["review_id", "date", "categories", "user_id", "business_id"]
    table = scan_split(clean.folder, "test").select(columns).collect()
    file = clean.folder / COVERAGE_FILE
    if file.exists():
        covered = pl.read_parquet(file, columns=["review_id", "coverage"])
        table = table.join(
            covered,
            on="review_id",
            how="left",
            maintain_order="left",
        )
        table = table.with_columns(pl.col("coverage").fill_null(0.0))

    keys = _keys(clean, table)
    if keys:
        table = table.with_columns(connect_groups(*keys).alias(GROUP))
    return table


def grouped_by(clean: Artifact, documents: pl.DataFrame) -> str:
    """Return the reasons why test reviews form groups, as text; empty if each review is its own group."""
    return " and ".join(key.name for key in _keys(clean, documents))


def _keys(clean: Artifact, table: pl.DataFrame) -> list[pl.Series]:
    """Return a key per review for each reason to form groups, null for none; its name is shown to the user."""
    return [keys for keys in (split_key(clean, table), copies(clean, table)) if keys is not None]


def documents_with_words(clean: Artifact) -> pl.DataFrame:
    """Return the facts about the test reviews (`documents_of`), and their number of words."""
    words = scan_split(clean.folder, "test").select("review_id", "words").collect()
    return documents_of(clean).join(words, on="review_id", how="left")
