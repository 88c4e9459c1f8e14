"""Find the held-out reviews that a model has learnt from before, and the earlier test reviews that it has not.

A model that starts from the champion's weights has learnt from earlier data. A test review that repeats an earlier
training review, under another id, would measure its memory. The rule is that within data: a text of test may not be in
validation or train, one of validation not in train. Held-out reviews that passages of earlier training text cover leave
as well (`reviewlm.corpus.cleaning.clean`, `reviewlm.corpus.duplicates.coverage`).

Test reviews of an earlier data set show whether a model loses earlier knowledge. A review from the training or
validation data of the model cannot show it. Such a review is recognised by its id, or by its exact text in normal form,
which may have another id in other data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from reviewlm.corpus.duplicates.coverage import SPAN
from reviewlm.corpus.duplicates.shingles import (
    SLICE_BYTES,
    Forms,
    part_of,
    simple_bytes,
    slices,
    word_bytes,
)
from reviewlm.corpus.splitting.split import SPLITS, TABLE, TEXT_NAME, iter_split, places, scan_split
from reviewlm.models.threads import map_in_order

_RANKS = {name: rank for rank, name in enumerate(SPLITS)}
_RANK = pl.col("split").replace_strict(_RANKS, return_dtype=pl.UInt8).alias("rank")
TEST = "test"
LEARNT_SPLITS = ("train", "validation")
KEYS = (pl.col("review_id").hash().alias("id"), TEXT_NAME)
"""Hashes by which a review is recognised, so that ids and texts of millions are never in memory together."""


def find_learnt(held_out: Iterable[pl.DataFrame], earlier: Sequence[Path]) -> np.ndarray:
    """Return a mask (H,) of the held-out reviews whose text is in a later split of earlier data.

    Args:
        held_out: The reviews in frames with the columns text and rank.
        earlier: Folders of prepared data, at least one.
    """
    none = pl.DataFrame(schema={"name": pl.UInt64(), "rank": pl.UInt8()})
    reviews = pl.concat([none, *(frame.select(TEXT_NAME, "rank") for frame in held_out)])
    there = pl.concat(
        [pl.scan_parquet(folder / TABLE).select(TEXT_NAME, _RANK) for folder in earlier]
    )
    wanted = there.filter(pl.col("name").is_in(reviews["name"].implode()))
    last = wanted.group_by("name").agg(last=pl.col("rank").max())
    both = reviews.join(
        last.collect(engine="streaming"),
        on="name",
        how="left",
        maintain_order="left",
    )
    return (both["last"] > both["rank"]).fill_null(False).to_numpy()


def train_forms(folder: Path, threads: int = 1) -> Iterator[Forms]:
    """Yield the training texts of prepared data in word form, some at a time, without those shorter than a run."""
    batches = iter_split(folder, "train", columns=["text"])
    for data, offsets in map_in_order(_long_forms, batches, threads):
        for part in slices(offsets, SLICE_BYTES):
            yield part_of(part, data, offsets)


def _long_forms(reviews: pl.DataFrame) -> Forms:
    return word_bytes(*simple_bytes(reviews["text"]), SPAN)[:2]


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


def choose_unlearnt(
    earlier: Path,
    learnt: Sequence[Path],
    most: int,
    seed: int,
) -> Unlearnt:
    """Return the test reviews of *earlier* that are not among the training or validation reviews of *learnt*.

    Args:
        earlier: Folder of a prepared data set.
        learnt: Folders of the prepared data sets from which the model has learnt.
        most: Largest number of reviews; of more, this number is drawn by a hash of seed and id, equal on any machine.
    """
    tests = _tests(earlier, learnt, LEARNT_SPLITS)
    left = tests.with_row_index("row").filter(~pl.col("by_id") & ~pl.col("by_text"))
    if left.height > most:
        left = left.with_columns(places(left["review_id"], f"champion reviews {seed}"))
        left = left.bottom_k(most, by=["place", "review_id"])

    chosen = pl.col("row").is_in(left["row"].implode())
    reviews = scan_split(earlier, TEST).with_row_index("row").filter(chosen).drop("row").collect()
    by_id = tests["by_id"]
    by_text = tests["by_text"]
    return Unlearnt(reviews, tests.height, int(by_id.sum()), int((by_text & ~by_id).sum()))


def learnt_tests(
    clean: Path,
    learnt: Sequence[Path],
    splits: Sequence[str] = LEARNT_SPLITS,
) -> list[str]:
    """Return the sorted ids of the test reviews of *clean* that are in these splits of *learnt*, by id or text."""
    return (
        _tests(clean, learnt, splits)
        .filter(pl.col("by_id") | pl.col("by_text"))["review_id"]
        .sort()
        .to_list()
    )


def _tests(
    clean: Path,
    learnt: Sequence[Path],
    splits: Sequence[str],
) -> pl.DataFrame:
    """Return review_id of each test review, and whether its id (by_id) or text (by_text) is in splits of *learnt*."""
    tests = scan_split(clean, TEST).select("review_id", *KEYS).collect()
    keys = [tests.head(0).lazy().select("id", "name")]
    for folder in learnt:
        for split in splits:
            keys.append(scan_split(folder, split).select(KEYS))

    there = pl.concat(keys)
    return tests.with_columns(
        by_id=_are_in(tests["id"], there), by_text=_are_in(tests["name"], there)
    )


def _are_in(names: pl.Series, there: pl.LazyFrame) -> pl.Series:
    """Return which hashes are in the column of their name; only those that are wanted are in memory."""
    met = there.select(names.name).filter(pl.col(names.name).is_in(names.implode())).unique()
    return names.is_in(met.collect(engine="streaming").to_series().implode())
