"""The profile of reviews, and work in order."""

from __future__ import annotations

import time
from collections import Counter
from datetime import datetime

import numpy as np
import polars as pl
import pytest

from reviewlm.corpus.cleaning.clean_table import CLEAN
from reviewlm.corpus.profile import Profile, profile_of
from reviewlm.corpus.splitting.split import SPLITS, TABLE
from reviewlm.models.threads import map_in_order


def table(number: int) -> pl.DataFrame:
    random = np.random.default_rng(number)
    rows = [
        {
            "review_id": f"r{place}",
            "text": " ".join(["word"] * int(random.integers(1, 200))),
            "stars": place % 6,
            "date": None if place % 7 == 0 else datetime(2010 + place % 3, 1 + place % 12, 5),
            "split": SPLITS[int(random.integers(0, 3))],
            "business_id": f"b{random.integers(0, 9)}",
            "user_id": f"u{place}",
            "categories": None if place % 5 == 0 else "Food, Bars & Grills",
            "city": "Champaign" if place % 2 else None,
        }
        for place in range(number)
    ]
    order = pl.col("split").replace_strict({name: rank for rank, name in enumerate(SPLITS)})
    return (
        pl.DataFrame(rows, schema_overrides=CLEAN)
        .with_columns(
            *(
                pl.lit(None, kind).alias(name)
                for name, kind in CLEAN.items()
                if name == "business_name"
            ),
            bytes=pl.col("text").str.len_bytes().cast(pl.Int32) + 1,
            words=pl.col("text").str.count_matches(r"\S+"),
        )
        .sort(order, maintain_order=True)
    )


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> tuple[pl.DataFrame, Profile]:
    """A table of reviews and its profile."""
    folder, reviews = tmp_path_factory.mktemp("profile"), table(400)
    reviews.write_parquet(folder / TABLE)
    return reviews, profile_of(folder)


def test_the_sums_of_each_split_are_those_of_a_count_by_hand(
    counted: tuple[pl.DataFrame, Profile],
) -> None:
    reviews, profile = counted
    assert profile.splits["split"].to_list() == ["train", "validation", "test"]
    for row in profile.splits.iter_rows(named=True):
        side = reviews.filter(split=row["split"])
        assert (row["reviews"], row["authors"]) == (side.height, side.height)
        assert (row["words"], row["bytes"]) == (side["words"].sum(), side["bytes"].sum())
        assert row["dated"] == side["date"].count()
        assert row["businesses"] == side["business_id"].n_unique()


def test_the_ratings_of_each_split_are_those_of_a_count_by_hand(
    counted: tuple[pl.DataFrame, Profile],
) -> None:
    reviews, profile = counted
    rows = profile.stars.iter_rows(named=True)
    for split, stars in zip(profile.splits["split"], rows, strict=True):
        side = reviews.filter(split=split)
        expected = [(side["stars"] == star).sum() for star in range(6)]
        assert [stars[str(star)] for star in range(6)] == expected


def test_the_lengths_are_those_of_a_count_by_hand(counted: tuple[pl.DataFrame, Profile]) -> None:
    reviews, profile = counted
    rows = profile.lengths.iter_rows(named=True)
    for split, lengths in zip(profile.splits["split"], rows, strict=True):
        assert lengths["50%"] == np.quantile(reviews.filter(split=split)["words"], 0.5)
    by_length = Counter(1 << (words.bit_length() - 1) for words in reviews["words"])
    found = profile.doublings.group_by("words").agg(pl.col("reviews").sum())
    assert dict(found.iter_rows()) == by_length


def test_the_months_are_those_of_a_count_by_hand(counted: tuple[pl.DataFrame, Profile]) -> None:
    reviews, profile = counted
    by_month = Counter(f"{day:%Y-%m}" for day in reviews["date"].drop_nulls())
    found = profile.months.group_by("month").agg(pl.col("reviews").sum())
    assert dict(found.iter_rows()) == by_month


def test_the_names_are_those_of_a_count_by_hand(counted: tuple[pl.DataFrame, Profile]) -> None:
    reviews, profile = counted
    number = reviews["categories"].count()
    assert profile.names["categories"].rows() == [("Bars & Grills", number), ("Food", number)]
    assert profile.names["cities"].rows() == [("Champaign", 200)]


def test_the_samples_are_the_first_reviews_of_usual_length(
    counted: tuple[pl.DataFrame, Profile],
) -> None:
    reviews, profile = counted
    usual = reviews.filter(pl.col("words").is_between(15, 120), split="train", stars=3)
    assert profile.samples[3] == usual["text"].head(3).to_list()
    assert profile.samples.keys() == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(workers):
    def slow_when_early(item):
        time.sleep(0.002 * (7 - item % 7))
        return item * item

    assert list(map_in_order(slow_when_early, range(40), workers)) == [
        item * item for item in range(40)
    ]


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_of_the_work_comes_in_its_turn(workers):
    seen = []
    with pytest.raises(ZeroDivisionError):
        seen.extend(map_in_order(lambda item: 6 // (3 - item), range(9), workers))
    assert seen == [2, 3, 6]
