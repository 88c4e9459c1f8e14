"""Choose the test reviews of an earlier data set that another model was not trained on.

A review from the training or validation data of a model cannot show whether the model loses earlier knowledge. Such a
review is recognised by its id, or by its exact text in normal form, which may have another id in other data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from corpus.duplicates.exact import NameIndex
from corpus.splitting.split import TABLE, TEXT_NAME, iter_split, places

TEST = "test"
LEARNT = ("train", "validation")
KEYS = (pl.col("review_id").hash().alias("id"), TEXT_NAME)
"""Hashes by which a review is recognised, so that ids and texts of millions are never in memory together."""


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
    none = pl.DataFrame(schema={"review_id": pl.String(), "id": pl.UInt64(), "name": pl.UInt64()})
    tests = pl.concat([none, *(batch.select("review_id", *KEYS) for batch in _batches(earlier, TEST))])
    by_id, by_text = _met(tests, (batch for folder in learnt for side in LEARNT for batch in _batches(folder, side)))
    rows = np.flatnonzero(~by_id & ~by_text)
    if len(rows) > most:
        left = tests[rows].select("review_id", row=pl.Series(rows))
        left = left.with_columns(places(left["review_id"], f"champion reviews {seed}"))
        rows = left.bottom_k(most, by=["place", "review_id"])["row"].to_numpy()
    return Unlearnt(_rows(earlier, rows), len(tests), int(by_id.sum()), int((by_text & ~by_id).sum()))


def _batches(folder: Path, split: str) -> Iterator[pl.DataFrame]:
    return iter_split(folder, split, columns=("review_id", "text"))


def _met(tests: pl.DataFrame, batches: Iterable[pl.DataFrame]) -> tuple[np.ndarray, np.ndarray]:
    """Return masks of the tests whose id, and whose text, is in one of the batches."""
    values = [np.unique(tests[name].to_numpy(), return_inverse=True) for name in ("id", "name")]
    found = [(NameIndex(names), np.zeros(len(names), bool)) for names, _ in values]
    for batch in batches:
        for (index, met), keys in zip(found, batch.select(KEYS), strict=True):
            place = index.find(keys.to_numpy())
            met[place[place >= 0]] = True
    by_id, by_text = (met[place] for (_, met), (_, place) in zip(found, values, strict=True))
    return by_id, by_text


def _rows(folder: Path, wanted: np.ndarray) -> pl.DataFrame:
    """Return the test reviews with the wanted numbers, in the order of the table."""
    chosen, start = [pl.scan_parquet(folder / TABLE).head(0).collect()], 0
    for batch in iter_split(folder, TEST):
        here = np.zeros(batch.height, bool)
        here[wanted[(wanted >= start) & (wanted < start + batch.height)] - start] = True
        chosen.append(batch.filter(pl.Series(here)))
        start += batch.height
    return pl.concat(chosen)
