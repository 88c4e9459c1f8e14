"""Write the table clean.parquet slice by slice, in its order, and define its columns."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from corpus.cleaning.business import BUSINESS, Businesses
from corpus.cleaning.external_sort import regrouped
from corpus.splitting.certificate import spread
from corpus.splitting.split import SPLITS, TABLE, add_texts

CLEAN: dict[str, pl.DataType] = {
    "review_id": pl.String(),
    "text": pl.String(),
    "stars": pl.Int8(),
    "bytes": pl.Int32(),
    "words": pl.Int32(),
    "date": pl.Datetime("us"),
    "split": pl.String(),
    "business_id": pl.String(),
    "user_id": pl.String(),
    **BUSINESS,
}
"""Columns of clean.parquet.

`stars` is 0 where the rating is unknown or not a whole number from 1 to 5. `bytes` is the UTF-8 length of the cleaned
text + 1 for its end. `words` counts the pieces between spaces and line breaks. The last three columns are null if no
table of businesses is given or the business of the review is not in it.
"""

ROWS = tuple(name for name in CLEAN if name != "split" and name not in BUSINESS)
"""Columns that are known before the split and the business of a review are looked up."""

ROW_GROUP = 50_000
"""Rows that are read at once; a reader of one split skips the row groups of the others."""


COPIES_FILE = "copies.parquet"
"""File next to clean.parquet: review_id, split and group of the reviews that repeat another one of their split."""


def write_copies(folder: Path, copies: pl.DataFrame) -> dict[str, dict[str, int]]:
    """Write the reviews of clean.parquet that repeat each other within their split, and return their number by split.

    Args:
        copies: See `corpus.duplicates.exact.ExactDuplicates.copies`.

    Returns:
        By split {groups, reviews}.
    """
    ids = pl.scan_parquet(folder / TABLE).select("review_id").with_row_index("row")
    table = ids.join(copies.lazy(), on="row", how="inner").sort("row").select("review_id", "split", "group").collect()
    table.write_parquet(folder / COPIES_FILE)
    return {
        name: {"groups": table.filter(pl.col("split") == name)["group"].n_unique(),
               "reviews": table.filter(pl.col("split") == name).height}
        for name in SPLITS
    }  # fmt: skip


COVERAGE_FILE = "coverage.parquet"
"""File next to clean.parquet: review_id, split and coverage of the held-out reviews with any."""


def write_coverage(folder: Path, coverage: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Write the largest coverage of each held-out review of clean.parquet, and return the distributions by split.

    Args:
        coverage: By name, one value for each held-out review, in the order of clean.parquet.

    Returns:
        By name and split: `corpus.splitting.certificate.spread`.
    """
    held_out = pl.scan_parquet(folder / TABLE).select("review_id", "split").filter(pl.col("split") != "train").collect()
    largest = np.maximum.reduce([np.zeros(held_out.height), *coverage.values()])
    held_out.with_columns(coverage=largest).filter(pl.col("coverage") > 0).write_parquet(folder / COVERAGE_FILE)
    sides = [name for name in SPLITS if name != "train"]
    masks = {name: (held_out["split"] == name).to_numpy() for name in sides}
    return {name: {side: spread(values[mask]) for side, mask in masks.items()} for name, values in coverage.items()}


def write_clean(
    folder: Path, slices: Iterator[pl.DataFrame], code: np.ndarray, businesses: Businesses | None
) -> dict[str, Any]:
    """Write the kept reviews to `folder/clean.parquet`.

    The bytes depend only on the rows, not on their cut into slices: all row groups except the last have `ROW_GROUP`
    rows.

    Args:
        folder: Output folder.
        slices: The reviews in their order, each frame of one split, with the column rank.
        code: (N,) for each review in the order of the slices: 0 if it is kept.
        businesses: Names, cities and categories to join.

    Returns:
        Facts: rows, splits, test_digest; with a table of businesses: business.
    """
    from pyarrow import parquet

    schema = pl.DataFrame(schema=CLEAN).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    tally = _Tally(businesses)
    temporary = folder / f"{TABLE}.tmp"
    with temporary.open("wb") as file, parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for frame in regrouped(tally.counted(_staying(slices, code)), ROW_GROUP):
            table = _with_business(frame, businesses).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema)
            writer.write_table(table, row_group_size=ROW_GROUP)
    temporary.replace(folder / TABLE)
    return tally.facts()


def _staying(slices: Iterator[pl.DataFrame], code: np.ndarray) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield the name of a split and its kept reviews, slice by slice."""
    start = 0
    for frame in slices:
        staying = frame.filter(pl.Series(code[start : start + frame.height] == 0))
        start += frame.height
        yield SPLITS[frame["rank"][0]], staying.select(ROWS)


def _with_business(frame: pl.DataFrame, businesses: Businesses | None) -> pl.DataFrame:
    if businesses:
        return businesses.join(frame).select(*CLEAN)
    return frame.with_columns(pl.lit(None, kind).alias(name) for name, kind in BUSINESS.items()).select(*CLEAN)


class _Tally:
    """A counter of the reviews that pass through to the table."""

    def __init__(self, businesses: Businesses | None) -> None:
        self.businesses = businesses
        self.totals = {name: Counter[str](reviews=0, bytes=0, words=0) for name in ("train", "validation", "test")}
        self.unmatched = 0
        self.digest = hashlib.sha256()

    def counted(self, sides: Iterator[tuple[str, pl.DataFrame]]) -> Iterator[pl.DataFrame]:
        """Yield the reviews with the column split, and count them."""
        for name, frame in sides:
            sums = {"bytes": int(frame["bytes"].sum()), "words": int(frame["words"].sum())}
            self.totals[name].update(reviews=frame.height, **sums)
            if name == "test":
                add_texts(self.digest, frame)
            if self.businesses:
                self.unmatched += self.businesses.unmatched(frame)
            yield frame.with_columns(split=pl.lit(name))

    def facts(self) -> dict[str, Any]:
        """Return the facts of `write_clean`."""
        splits = {name: dict(total) for name, total in self.totals.items()}
        facts = {
            "rows": sum(total["reviews"] for total in splits.values()), "splits": splits,
            "test_digest": self.digest.hexdigest(),
        }
        return {**facts, "business": self.businesses.facts(self.unmatched)} if self.businesses else facts
