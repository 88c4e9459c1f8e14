"""Choose the test reviews of an earlier data set that another model was not trained on.

A review from the training or validation data of a model cannot show whether the model loses earlier knowledge. Such a
review is recognised by its id, or by its exact text in normal form, which may have another id in other data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from corpus.splitting.split import TABLE, TEXT_NAME, places, scan_split

TEST = "test"
LEARNT = ("train", "validation")
KEYS = (pl.col("review_id"), TEXT_NAME)
"""By which a review is recognised: its id, and a hash of its text, so that not all texts are in memory."""


@dataclass(frozen=True)
class Unlearnt:
    """The chosen reviews, and the numbers of those left out.

    Args:
        reviews: Rows of the earlier `clean.parquet`, in its order; at most the requested number.
        tests: Number of test reviews in the earlier data set.
        learnt_ids: Number left out because of their id.
        learnt_texts: Number left out because of their text, under another id.
    """

    reviews: pl.DataFrame
    tests: int
    learnt_ids: int
    learnt_texts: int


def choose_unlearnt(earlier: Path, learnt: Sequence[Path], most: int, seed: int) -> Unlearnt:
    """Return the test reviews of *earlier* that are not among the training or validation reviews of *learnt*.

    Args:
        earlier: Folder of a prepared data set.
        learnt: Folders of the prepared data sets from which the model has learnt.
        most: Largest number of reviews; of more, this number is drawn by a hash of seed and id, equal on any machine.
    """
    tests = scan_split(earlier, TEST).select(KEYS).collect()
    ids, texts = (_learnt(tests, learnt, column) for column in ("review_id", "name"))
    by_id, by_text = tests["review_id"].is_in(ids.implode()), tests["name"].is_in(texts.implode())
    left = tests.filter(~by_id & ~by_text).select("review_id")
    counts = len(tests), int(by_id.sum()), int((by_text & ~by_id).sum())
    if len(left) > most:
        place = places(left["review_id"], f"champion reviews {seed}")
        left = left.with_columns(place).bottom_k(most, by=["place", "review_id"])
    reviews = scan_split(earlier, TEST).join(left.lazy(), on="review_id", how="semi", maintain_order="left").collect()
    return Unlearnt(reviews, *counts)


def _learnt(tests: pl.DataFrame, learnt: Sequence[Path], column: str) -> pl.Series:
    """Return the values of a column of *tests* that also occur in training or validation data."""
    wanted = tests.lazy().select(column).unique()
    found = [
        pl.scan_parquet(folder / TABLE).filter(pl.col("split").is_in(LEARNT)).select(KEYS).select(column)
        .join(wanted, on=column, how="semi").unique().collect(engine="streaming")[column]
        for folder in learnt
    ]
    return pl.concat(found) if found else tests[column].clear()
